"""One config for all supported decoders: what sets their computations apart. Hashable, so that it is static in jit."""

from __future__ import annotations

from dataclasses import dataclass
from typing import NamedTuple

from soo_jax.errors import SooError

GLOBAL = 1 << 30
"""Window of a layer that attends to everything before it."""


class Linear(NamedTuple):
    """A linear map of a layer.

    Attributes:
      inputs, outputs: its axes: ``width``, ``heads``, ``kv_heads`` or ``mlp``. bias: the field of the config that says
        whether it has one.
    """

    inputs: str
    outputs: str
    bias: str


_ATTENTION = {
    "q_proj": Linear("width", "heads", "qkv_bias"),
    "k_proj": Linear("width", "kv_heads", "qkv_bias"),
    "v_proj": Linear("width", "kv_heads", "qkv_bias"),
    "o_proj": Linear("heads", "width", "o_bias"),
}
_MLP = {
    "gate_proj": Linear("width", "mlp", "mlp_bias"),
    "up_proj": Linear("width", "mlp", "mlp_bias"),
    "down_proj": Linear("mlp", "width", "mlp_bias"),
}
LINEAR = {**_ATTENTION, **_MLP}
"""The linear maps of a layer, by the names that Hugging Face and PEFT know them by."""
ATTENTION, MLP, PROJECTIONS = tuple(_ATTENTION), tuple(_MLP), tuple(LINEAR)


@dataclass(frozen=True)
class Rope:
    """Rotary position embedding: base frequency and the two kinds of frequency scaling in use.

    ``kind`` is ``default``, ``linear`` (all frequencies divided by ``factor``), ``llama3`` (only the slow
    ones, with a smooth passage between ``low_freq_factor`` and ``high_freq_factor`` turns in
    ``original_positions``) or ``none`` (nothing is turned: the layer does not know positions).
    """

    theta: float = 10000.0
    kind: str = "default"
    factor: float = 1.0
    low_freq_factor: float = 1.0
    high_freq_factor: float = 4.0
    original_positions: int = 8192


@dataclass(frozen=True)
class DecoderConfig:
    """Everything that distinguishes the supported families from one another.

    Attributes:
      architecture: name of the family (``soo_jax.models.architectures``); only reading and writing folders asks for it.
      windows: for every layer how many positions it sees, itself included; ``GLOBAL`` sees all.
      rope: of all layers; ``layer_ropes``: of each layer, where they differ.
      query_scale: factor on query-key products.
      qk_norm: queries and keys are normalised before they are turned: ``head`` by head, over the whole ``width`` of
        the projection, or not (empty).
      pre_norms: whether the inputs of attention and MLP are normalised (OLMo-2's are not).
      norm_offset: Gemma's RMSNorm multiplies with ``1 + scale``.
      post_norms: Gemma and OLMo-2 normalise what attention and MLP put out.
      attn_softcap, logit_softcap: ``cap * tanh(x / cap)``; 0 is none.
    """

    architecture: str
    vocab_size: int
    width: int
    mlp_width: int
    num_layers: int
    num_heads: int
    num_kv_heads: int
    head_dim: int
    max_positions: int
    windows: tuple[int, ...]
    norm_eps: float = 1e-5
    rope: Rope = Rope()
    activation: str = "silu"
    qkv_bias: bool = False
    o_bias: bool = False
    mlp_bias: bool = False
    tie_embeddings: bool = False
    embedding_scale: float = 1.0
    query_scale: float = 0.0
    norm_offset: bool = False
    qk_norm: str = ""
    pre_norms: bool = True
    post_norms: bool = False
    attn_softcap: float = 0.0
    logit_softcap: float = 0.0
    layer_ropes: tuple[Rope, ...] = ()

    def __post_init__(self):
        if len(self.windows) != self.num_layers:
            raise SooError(f"config: {len(self.windows)} attention windows for {self.num_layers} layers")
        if self.layer_ropes and len(self.layer_ropes) != self.num_layers:
            raise SooError(f"config: {len(self.layer_ropes)} rotary embeddings for {self.num_layers} layers")
        if self.qk_norm not in ("", "head", "width"):
            raise SooError(f"config: qk_norm is head, width or empty, not {self.qk_norm!r}")
        if self.num_heads % self.num_kv_heads:
            raise SooError(
                f"config: num_attention_heads {self.num_heads} is no multiple of "
                f"num_key_value_heads {self.num_kv_heads}"
            )
        if self.head_dim % 2:
            raise SooError(f"config: head_dim must be even for rotary positions, not {self.head_dim}")

    @property
    def scale(self) -> float:
        """Factor on query-key products."""
        return self.query_scale or self.head_dim**-0.5

    def projection_shape(self, name: str) -> tuple[int, int]:
        """``(in, out)`` of one of the ``PROJECTIONS``."""
        sizes = {
            "width": self.width,
            "heads": self.num_heads * self.head_dim,
            "kv_heads": self.num_kv_heads * self.head_dim,
            "mlp": self.mlp_width,
        }
        return sizes[LINEAR[name].inputs], sizes[LINEAR[name].outputs]
