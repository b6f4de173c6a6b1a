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
from soo_jax.models import weights
from soo_jax.models.config import PROJECTIONS, DecoderConfig
from soo_jax.models.decoder import Params


@dataclass(frozen=True)
class LoraConfig:
    """What is adapted and how strongly.

    Attributes:
      rank, alpha: the update is ``alpha / rank * A B``, with rank-stabilised LoRA ``alpha / sqrt(rank) * A B``.
      dropout: rate on the input of the update, in training only.
      targets: any of q, k, v, o, gate, up, down, with or without ``_proj``.
      layers: which layers; None is all.
      rslora: rank-stabilised scaling (Kalajdzievski 2023, arXiv 2312.03732).
      layers_by_target: ``(target, layers)`` each, where the targets differ in their layers; ``layers`` is None then.
    """

    rank: int = 8
    alpha: float = 32.0
    dropout: float = 0.0
    targets: tuple[str, ...] = ("q_proj", "v_proj")
    layers: tuple[int, ...] | None = None
    rslora: bool = False
    layers_by_target: tuple | None = None

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
        if self.layers_by_target is not None:
            each = {name: tuple(sorted(set(layers))) for name, layers in self.layers_by_target}
            if self.layers is not None or set(each) != set(self.targets) or not all(each.values()):
                raise SooError("adapter layers: give one list for all targets, or one for each, none of them empty")
            ordered = tuple((name, each[name]) for name in self.targets)
            alike = len(set(each.values())) == 1  # one way to say a thing
            object.__setattr__(self, "layers", ordered[0][1] if alike else None)
            object.__setattr__(self, "layers_by_target", None if alike else ordered)
        if self.rank < 1:
            raise SooError(f"adapter rank must be at least 1, found {self.rank}")
        if not self.alpha:
            raise SooError("adapter alpha must not be 0: the adapter would change nothing")
        if not 0.0 <= self.dropout < 1.0:
            raise SooError(f"adapter dropout must be in [0, 1), found {self.dropout}")

    @property
    def scale(self) -> float:
        """Factor on ``A B``."""
        return self.alpha / (math.sqrt(self.rank) if self.rslora else self.rank)

    def layers_of(self, target: str) -> tuple[int, ...] | None:
        """The layers in which ``target`` is adapted; None is all."""
        return self.layers if self.layers_by_target is None else dict(self.layers_by_target)[target]

    @property
    def lowest_layer(self) -> int:
        """The first layer in which anything is adapted."""
        return min((self.layers_of(target) or (0,))[0] for target in self.targets)


@struct.dataclass
class Lora:
    """One adapter (or, with a leading axis S, a stack of them).

    Attributes:
      a: ``{target: [n, in, r]}``. b: ``{target: [n, r, out]}``; n may differ between targets.
    """

    a: dict[str, Array]
    b: dict[str, Array]
    config: LoraConfig = struct.field(pytree_node=False)

    def per_layer(self, num_layers: int) -> Any:
        """Factors with a leading axis L: zero where a layer is not adapted."""

        def spread(target: str, leaf: Array) -> Array:
            layers = self.config.layers_of(target)
            if layers is None:
                return leaf
            return jnp.zeros((num_layers, *leaf.shape[1:]), leaf.dtype).at[jnp.asarray(layers)].set(leaf)

        return {
            "a": {target: spread(target, leaf) for target, leaf in self.a.items()},
            "b": {target: spread(target, leaf) for target, leaf in self.b.items()},
        }

    def times(self, factor: Array) -> Lora:
        """The same adapter with ``factor`` times its update; of a stack, one factor ``[S]`` for each."""
        scaled = lambda leaf: leaf * factor.reshape(*factor.shape, *(1,) * (leaf.ndim - factor.ndim)).astype(leaf.dtype)
        return self.replace(b={target: scaled(leaf) for target, leaf in self.b.items()})

    def delta(self, target: str, state: Any, x: Array, dropout_key: Array | None) -> Array | None:
        """What the adapter adds to ``target`` for its input ``x [..., in]``; computed in the dtype of ``x``."""
        if target not in self.config.targets:
            return None
        if dropout_key is not None and self.config.dropout > 0.0:
            # 16 random bits decide an entry: half the work of a float, the rate exact to 1/65536.
            keep = round((1.0 - self.config.dropout) * 65536)
            kept = jax.random.bits(dropout_key, x.shape, jnp.uint16) < keep
            x = jnp.where(kept, x * jnp.asarray(65536 / keep, x.dtype), 0)
        low = _product(x, state["a"][target].astype(x.dtype))
        return _product(low, state["b"][target].astype(x.dtype)) * jnp.asarray(self.config.scale, x.dtype)


@jax.custom_vjp
def _product(x: Array, factor: Array) -> Array:
    """``x [..., in] @ factor [in, out]``.

    The gradient of a factor is written out: left to itself, the compiler for CPUs first turns the long, wide slope
    around in memory, which takes longer than the product.
    """
    return x @ factor


def _product_forward(x: Array, factor: Array) -> tuple[Array, tuple[Array, Array]]:
    return x @ factor, (x, factor)


def _product_backward(kept: tuple[Array, Array], slope: Array) -> tuple[Array, Array]:
    x, factor = kept
    return slope @ factor.T, jnp.einsum("...i,...o->io", x, slope)


_product.defvjp(_product_forward, _product_backward)


def init_lora(config: DecoderConfig, lora: LoraConfig, key: Array, dtype: Any = jnp.float32) -> Lora:
    """A fresh adapter: A uniform in ``±1/sqrt(in)``, B zero, so that it changes nothing yet.

    Raises:
      SooError: a layer that the model does not have.
    """
    a, b = {}, {}
    for target, own in zip(lora.targets, jax.random.split(key, len(lora.targets)), strict=True):
        layers = lora.layers_of(target)
        bad = [layer for layer in layers or () if not 0 <= layer < config.num_layers]
        if bad:
            raise SooError(
                f"adapter layer {bad[0]} is out of range: this model has layers 0 to {config.num_layers - 1}"
            )
        count = config.num_layers if layers is None else len(layers)
        wide, out = config.projection_shape(target)
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
        own = lora.config.layers_of(target)
        rows = slice(None) if own is None else jnp.asarray(own)
        layers[target] = {**layers[target], "kernel": weights.plus(kernel, update, rows)}
    return {**params, "layers": layers}


def stack(adapters: Sequence[Lora], model: DecoderConfig | None = None) -> Lora:
    """Adapters as one pytree with a leading axis S.

    Args:
      model: the base's config. With it, adapters of other ranks, scalings, targets or layers are brought to a common
        form that computes the same: factors of zero where one of them adapts nothing.

    Raises:
      SooError: the adapters have different forms and ``model`` was not given.
    """
    configs = list(dict.fromkeys(adapter.config for adapter in adapters))
    if len(configs) > 1:
        if model is None:
            raise SooError("only adapters of the same rank, targets and layers can be stacked without a model config")
        common = common_form(configs, model.num_layers)
        adapters = [in_common(one, common, model).times(jnp.asarray(one.config.scale)) for one in adapters]
    return jax.tree.map(lambda *leaves: jnp.stack(leaves), *adapters)


def _layers_in(config: LoraConfig, target: str, num_layers: int) -> tuple[int, ...]:
    layers = config.layers_of(target)
    return tuple(range(num_layers)) if layers is None else layers


def common_form(forms: Iterable[LoraConfig], num_layers: int) -> LoraConfig:
    """The one config, or else the smallest that has room for all of these and a scale of 1: each adapter's own scale
    is a factor then (:meth:`Lora.times`)."""
    forms = tuple(dict.fromkeys(forms))
    if len(forms) == 1:
        return forms[0]
    layers: dict[str, set[int]] = {}
    for form in forms:
        for target in form.targets:
            layers.setdefault(target, set()).update(_layers_in(form, target, num_layers))
    everywhere = all(own == set(range(num_layers)) for own in layers.values())
    most = max(form.rank for form in forms)
    return LoraConfig(
        rank=most,
        alpha=float(most),
        dropout=max(form.dropout for form in forms),
        targets=tuple(layers),
        layers_by_target=None if everywhere else tuple((target, tuple(own)) for target, own in layers.items()),
    )


def in_common(lora: Lora, common: LoraConfig, model: DecoderConfig) -> Lora:
    """An adapter's factors in a form that has room for more: zeros fill the rest, and stay zeros in training.

    Its own scale is left out: see :meth:`Lora.times`.
    """
    if lora.config == common:
        return lora
    a, b = {}, {}
    for target in common.targets:
        layers = _layers_in(common, target, model.num_layers)
        wide, out = model.projection_shape(target)
        a[target] = jnp.zeros((len(layers), wide, common.rank), jnp.float32)
        b[target] = jnp.zeros((len(layers), common.rank, out), jnp.float32)
        if target in lora.config.targets:
            rows = jnp.asarray([layers.index(layer) for layer in _layers_in(lora.config, target, model.num_layers)])
            rank = lora.config.rank
            a[target] = a[target].at[rows, :, :rank].set(lora.a[target])
            b[target] = b[target].at[rows, :rank].set(lora.b[target])
    return Lora(a, b, common)


def in_own(lora: Lora, form: LoraConfig) -> Lora:
    """An adapter out of a stack (:func:`stack`), as it was before: of config ``form``, with its own scale."""
    if lora.config == form:
        return lora
    a, b = {}, {}
    for target in form.targets:
        there, own = lora.config.layers_of(target), form.layers_of(target)
        rows = slice(None) if own is None else jnp.asarray(own if there is None else [there.index(i) for i in own])
        a[target], b[target] = lora.a[target][rows, :, : form.rank], lora.b[target][rows, : form.rank]
    return Lora(a, b, form).times(jnp.asarray(lora.config.scale / form.scale))


def unstack(adapters: Lora) -> list[Lora]:
    """The adapters of a stack one by one."""
    return [jax.tree.map(lambda leaf, i=i: leaf[i], adapters) for i in range(stack_size(adapters))]


def stack_size(adapters: Lora) -> int:
    """S of a stack."""
    return next(iter(adapters.a.values())).shape[0]


def is_stacked(adapters: Lora) -> bool:
    """Whether the leaves have a leading axis S."""
    return next(iter(adapters.a.values())).ndim == 4


def stacked(adapters: Lora | Iterable[Lora], model: DecoderConfig | None = None) -> Lora:
    """One adapter, several or a stack, as a stack."""
    if isinstance(adapters, Lora) and is_stacked(adapters):
        return adapters
    return stack([adapters] if isinstance(adapters, Lora) else list(adapters), model)


def num_params(adapters: Lora | Mapping[str, Any]) -> int:
    """How many numbers a pytree holds."""
    return sum(leaf.size for leaf in jax.tree.leaves(adapters))
