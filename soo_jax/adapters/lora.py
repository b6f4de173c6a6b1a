"""LoRA as a pytree: low-rank factors beside a frozen base (Hu et al. 2021, arXiv 2106.09685).

Shapes: n adapted layers, r rank. Stacked adapters have one more leading axis S on every leaf and are meant for
``vmap``: S of them train or answer together over one copy of the base.
"""

from __future__ import annotations

import math
from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass
from typing import Any

import jax
import jax.numpy as jnp
from flax import struct
from jax import Array

from soo_jax.errors import SooError
from soo_jax.models.config import DecoderConfig
from soo_jax.models.decoder import Params
from soo_jax.models.layers import PROJECTIONS


@dataclass(frozen=True)
class LoraConfig:
    """What is adapted and how strongly.

    Attributes:
      rank, alpha: the update is ``alpha / rank * A B``, with rank-stabilised LoRA ``alpha / sqrt(rank) * A B``.
      dropout: rate on the input of the update, in training only.
      targets: any of q, k, v, o, gate, up, down, with or without ``_proj``.
      layers: which layers; None is all.
      rslora: rank-stabilised scaling (Kalajdzievski 2023, arXiv 2312.03732).
    """

    rank: int = 8
    alpha: float = 32.0
    dropout: float = 0.0
    targets: tuple[str, ...] = ("q_proj", "v_proj")
    layers: tuple[int, ...] | None = None
    rslora: bool = False

    def __post_init__(self):
        full = {name if name.endswith("_proj") else f"{name}_proj" for name in self.targets}
        unknown = sorted(full - set(PROJECTIONS))
        if unknown or not full:
            raise SooError(f"adapter targets {', '.join(unknown) or '(none)'}: choose from {', '.join(PROJECTIONS)}")
        object.__setattr__(self, "targets", tuple(name for name in PROJECTIONS if name in full))
        if self.layers is not None:
            object.__setattr__(self, "layers", tuple(sorted(set(self.layers))))
            if not self.layers:
                raise SooError("adapter layers: none given; leave the setting out to adapt all layers")
        if self.rank < 1:
            raise SooError(f"adapter rank must be at least 1, found {self.rank}")
        if not 0.0 <= self.dropout < 1.0:
            raise SooError(f"adapter dropout must be in [0, 1), found {self.dropout}")

    @property
    def scale(self) -> float:
        """Factor on ``A B``."""
        return self.alpha / (math.sqrt(self.rank) if self.rslora else self.rank)


@struct.dataclass
class Lora:
    """One adapter (or, with a leading axis S, a stack of them).

    Attributes:
      a: ``{target: [n, in, r]}``. b: ``{target: [n, r, out]}``.
    """

    a: dict[str, Array]
    b: dict[str, Array]
    config: LoraConfig = struct.field(pytree_node=False)

    def per_layer(self, num_layers: int) -> Any:
        """Factors with a leading axis L: zero where a layer is not adapted."""
        factors = {"a": self.a, "b": self.b}
        if self.config.layers is None:
            return factors
        rows = jnp.asarray(self.config.layers)
        spread = lambda leaf: jnp.zeros((num_layers, *leaf.shape[1:]), leaf.dtype).at[rows].set(leaf)
        return jax.tree.map(spread, factors)

    def delta(self, target: str, state: Any, x: Array, dropout_key: Array | None) -> Array | None:
        """What the adapter adds to ``target`` for its input ``x [..., in]``; computed in the dtype of ``x``."""
        if target not in self.config.targets:
            return None
        if dropout_key is not None and self.config.dropout > 0.0:
            # 16 random bits decide an entry: half the work of a float, the rate exact to 1/65536.
            keep = round((1.0 - self.config.dropout) * 65536)
            kept = jax.random.bits(dropout_key, x.shape, jnp.uint16) < keep
            x = jnp.where(kept, x * jnp.asarray(65536 / keep, x.dtype), 0)
        low = x @ state["a"][target].astype(x.dtype)
        return (low @ state["b"][target].astype(x.dtype)) * jnp.asarray(self.config.scale, x.dtype)


def projection_shape(config: DecoderConfig, target: str) -> tuple[int, int]:
    """``(in, out)`` of a projection."""
    heads, kv = config.num_heads * config.head_dim, config.num_kv_heads * config.head_dim
    return {
        "q_proj": (config.width, heads),
        "k_proj": (config.width, kv),
        "v_proj": (config.width, kv),
        "o_proj": (heads, config.width),
        "gate_proj": (config.width, config.mlp_width),
        "up_proj": (config.width, config.mlp_width),
        "down_proj": (config.mlp_width, config.width),
    }[target]


def init_lora(config: DecoderConfig, lora: LoraConfig, key: Array, dtype: Any = jnp.float32) -> Lora:
    """A fresh adapter: A uniform in ``±1/sqrt(in)``, B zero, so that it changes nothing yet.

    Raises:
      SooError: a layer that the model does not have.
    """
    bad = [layer for layer in lora.layers or () if not 0 <= layer < config.num_layers]
    if bad:
        raise SooError(f"adapter layer {bad[0]} is out of range: this model has layers 0 to {config.num_layers - 1}")
    count = config.num_layers if lora.layers is None else len(lora.layers)
    a, b = {}, {}
    for target, own in zip(lora.targets, jax.random.split(key, len(lora.targets)), strict=True):
        wide, out = projection_shape(config, target)
        bound = wide**-0.5
        a[target] = jax.random.uniform(own, (count, wide, lora.rank), dtype, -bound, bound)
        b[target] = jnp.zeros((count, lora.rank, out), dtype)
    return Lora(a, b, lora)


def merge(params: Params, lora: Lora) -> Params:
    """Base parameters with one adapter added in: same shapes and dtypes, sums in float32."""
    layers: dict[str, Any] = dict(params["layers"])
    for target in lora.config.targets:
        kernel = layers[target]["kernel"]
        update = lora.config.scale * jnp.einsum(
            "nir,nro->nio", lora.a[target].astype(jnp.float32), lora.b[target].astype(jnp.float32)
        )
        rows = slice(None) if lora.config.layers is None else jnp.asarray(lora.config.layers)
        added = (kernel[rows].astype(jnp.float32) + update).astype(kernel.dtype)
        layers[target] = {**layers[target], "kernel": kernel.at[rows].set(added)}
    return {**params, "layers": layers}


def stack(adapters: Sequence[Lora]) -> Lora:
    """Adapters of one shape as one pytree with a leading axis S."""
    if len({adapter.config for adapter in adapters}) != 1:
        raise SooError("only adapters of the same rank, targets and layers can be stacked")
    return jax.tree.map(lambda *leaves: jnp.stack(leaves), *adapters)


def unstack(adapters: Lora) -> list[Lora]:
    """The adapters of a stack one by one."""
    return [jax.tree.map(lambda leaf, i=i: leaf[i], adapters) for i in range(stack_size(adapters))]


def stack_size(adapters: Lora) -> int:
    """S of a stack."""
    return next(iter(adapters.a.values())).shape[0]


def is_stacked(adapters: Lora) -> bool:
    """Whether the leaves have a leading axis S."""
    return next(iter(adapters.a.values())).ndim == 4


def stacked(adapters: Lora | Iterable[Lora] | None) -> Lora | None:
    """One adapter, several or a stack, as a stack."""
    if adapters is None or (isinstance(adapters, Lora) and is_stacked(adapters)):
        return adapters
    return stack([adapters] if isinstance(adapters, Lora) else list(adapters))


def num_params(adapters: Lora | Mapping[str, Any]) -> int:
    """How many numbers a pytree holds."""
    return sum(leaf.size for leaf in jax.tree.leaves(adapters))
