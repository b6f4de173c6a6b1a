"""The Linen modules of one decoder layer. Shapes: B batch, T query tokens, S key tokens, D width, H heads, K KV heads.

Every weight carries logical axis names; ``soo_jax.parallel`` maps them to a mesh.
"""

from __future__ import annotations

from collections.abc import Callable

import flax.linen as nn
import jax
import jax.numpy as jnp
from jax import Array

from soo_jax.models import weights
from soo_jax.models.config import LINEAR, DecoderConfig, Rope

Delta = Callable[[str, Array], "Array | None"]
"""What an adapter adds to the projection of that name for the input ``[B, T, in]``; None adds nothing."""
Extend = Callable[[Array, Array], tuple[Array, Array]]
"""Takes new keys and values ``[B, K, T, head_dim]``, returns all that may be attended to ``[B, K, S, head_dim]``."""

ACTIVATIONS = {
    "silu": jax.nn.silu,
    "gelu_tanh": lambda x: jax.nn.gelu(x, approximate=True),
    "gelu": lambda x: jax.nn.gelu(x, approximate=False),
}
_MASKED = -1e30  # finite, so that a row that sees nothing (padding) gives no NaN


class Projection(nn.Module):
    """A linear map ``[..., in] -> [..., features]``, plus what an adapter adds."""

    features: int
    axes: tuple[str, str]
    use_bias: bool = False

    @nn.compact
    def __call__(self, x: Array, delta: Delta | None = None) -> Array:
        init = nn.with_logical_partitioning(nn.initializers.lecun_normal(), self.axes)
        if self.has_variable("params", "kernel"):  # Linen's own look at its shape would refuse a quantised one
            kernel = self.get_variable("params", "kernel")
        else:
            kernel = self.param("kernel", init, (x.shape[-1], self.features))
        y = weights.matmul(x, kernel)
        if self.use_bias:
            zeros = nn.with_logical_partitioning(nn.initializers.zeros, self.axes[1:])
            y = y + self.param("bias", zeros, (self.features,)).astype(x.dtype)
        added = delta(self.name, x) if delta is not None else None
        return y if added is None else y + added.astype(y.dtype)


class RMSNorm(nn.Module):
    """Root-mean-square norm in float32; ``offset`` multiplies with ``1 + scale`` before the cast, as Gemma does."""

    eps: float
    offset: bool = False
    axis: str = "width"

    @nn.compact
    def __call__(self, x: Array) -> Array:
        start = nn.initializers.zeros if self.offset else nn.initializers.ones
        scale = self.param("scale", nn.with_logical_partitioning(start, (self.axis,)), (x.shape[-1],))
        wide = x.astype(jnp.float32)
        normed = wide * jax.lax.rsqrt(jnp.mean(wide * wide, axis=-1, keepdims=True) + self.eps)
        if self.offset:
            return (normed * (1.0 + scale.astype(jnp.float32))).astype(x.dtype)
        return normed.astype(x.dtype) * scale.astype(x.dtype)


def rotary_table(rope: Rope, head_dim: int, positions: Array) -> tuple[Array, Array]:
    """Cosines and sines ``[B, T, head_dim / 2]`` (float32) for positions ``[B, T]``."""
    inverse = rope.theta ** -(jnp.arange(0, head_dim, 2, dtype=jnp.float32) / head_dim)
    if rope.kind == "none":
        inverse = jnp.zeros_like(inverse)
    if rope.kind == "linear":
        inverse = inverse / rope.factor
    elif rope.kind == "llama3":
        turns = rope.original_positions * inverse / (2 * jnp.pi)
        low, high = rope.low_freq_factor, rope.high_freq_factor
        keep = jnp.clip((turns - low) / (high - low), 0.0, 1.0)
        inverse = inverse * (keep + (1.0 - keep) / rope.factor)
    angles = positions[..., None].astype(jnp.float32) * inverse
    return jnp.cos(angles), jnp.sin(angles)


def rotate(x: Array, table: tuple[Array, Array]) -> Array:
    """Turns ``x [B, heads, T, head_dim]``, whose halves are the two coordinates of each rotating plane."""
    cos, sin = (part[:, None].astype(x.dtype) for part in table)
    first, second = jnp.split(x, 2, axis=-1)
    return jnp.concatenate([first * cos - second * sin, second * cos + first * sin], axis=-1)


def attention(config: DecoderConfig, q: Array, k: Array, v: Array, allowed: Array) -> Array:
    """Grouped-query attention.

    Args:
      q: ``[B, H, T, head_dim]``. k, v: ``[B, K, S, head_dim]``.
      allowed: ``[B, T, S]`` bool.

    Returns:
      ``[B, T, H * head_dim]``.
    """
    b, h, t, d = q.shape
    groups = config.num_kv_heads
    q = q.reshape(b, groups, h // groups * t, d)
    scores = jnp.einsum("bkqd,bksd->bkqs", q, k, preferred_element_type=jnp.float32) * config.scale
    if config.attn_softcap:
        scores = config.attn_softcap * jnp.tanh(scores / config.attn_softcap)
    scores = scores.reshape(b, groups, h // groups, t, -1)
    scores = jnp.where(allowed[:, None, None], scores, _MASKED)
    shares = jax.nn.softmax(scores, axis=-1).astype(v.dtype).reshape(b, groups, h // groups * t, -1)
    out = jnp.einsum("bkqs,bksd->bkqd", shares, v).reshape(b, h, t, d)
    return out.swapaxes(1, 2).reshape(b, t, h * d)


class Block(nn.Module):
    """One decoder layer, callable whole or in its two halves."""

    config: DecoderConfig

    def setup(self):
        c = self.config
        norm = lambda: RMSNorm(c.norm_eps, c.norm_offset)
        if c.pre_norms:
            self.input_norm, self.mlp_norm = norm(), norm()
        if c.post_norms:
            self.post_attn_norm, self.post_mlp_norm = norm(), norm()
        if c.qk_norm:
            # Small, and a mesh splits heads, not what is inside one: every device has them whole.
            self.q_norm, self.k_norm = (RMSNorm(c.norm_eps, c.norm_offset, axis="whole") for _ in range(2))
        for name, (inputs, outputs, bias) in LINEAR.items():
            setattr(self, name, Projection(c.projection_shape(name)[1], (inputs, outputs), getattr(c, bias)))

    def attend(
        self,
        x: Array,
        table: tuple[Array, Array],
        allowed: Array,
        delta: Delta | None = None,
        extend: Extend | None = None,
    ) -> Array:
        """Attention output ``[B, T, D]`` (probe ``attn_out``) of the residual stream ``x [B, T, D]``."""
        c = self.config
        h = self.input_norm(x) if c.pre_norms else x
        split = lambda y, heads: y.reshape(*y.shape[:2], heads, c.head_dim).swapaxes(1, 2)
        q, k = self.q_proj(h, delta), self.k_proj(h, delta)
        if c.qk_norm == "width":
            q, k = self.q_norm(q), self.k_norm(k)
        q, k, v = split(q, c.num_heads), split(k, c.num_kv_heads), split(self.v_proj(h, delta), c.num_kv_heads)
        if c.qk_norm == "head":
            q, k = self.q_norm(q), self.k_norm(k)
        q, k = rotate(q, table), rotate(k, table)
        if extend is not None:
            k, v = extend(k, v)
        return self.o_proj(attention(c, q, k, v, allowed), delta)

    def finish(self, x: Array, attn_out: Array, delta: Delta | None = None) -> tuple[Array, Array]:
        """Adds attention and MLP: the new residual stream and the MLP output (probe ``mlp_out``)."""
        post = self.config.post_norms
        x = x + (self.post_attn_norm(attn_out) if post else attn_out)
        h = self.mlp_norm(x) if self.config.pre_norms else x
        gated = ACTIVATIONS[self.config.activation](self.gate_proj(h, delta)) * self.up_proj(h, delta)
        mlp_out = self.down_proj(gated, delta)
        return x + (self.post_mlp_norm(mlp_out) if post else mlp_out), mlp_out

    def __call__(self, x: Array, table: tuple[Array, Array], allowed: Array) -> Array:
        return self.finish(x, self.attend(x, table, allowed))[0]


class Embedding(nn.Module):
    """Token embedding ``[V, D]``, and the unembedding that may share its weights."""

    config: DecoderConfig

    def setup(self):
        c = self.config
        init = nn.initializers.normal(0.02)
        self.embedding = self.param(
            "embedding", nn.with_logical_partitioning(init, ("vocab", "width")), (c.vocab_size, c.width)
        )
        self.final_norm = RMSNorm(c.norm_eps, c.norm_offset)
        if not c.tie_embeddings:
            self.lm_head = self.param(
                "lm_head", nn.with_logical_partitioning(init, ("width", "vocab")), (c.width, c.vocab_size)
            )

    def embed(self, tokens: Array) -> Array:
        """``[B, T]`` token ids to ``[B, T, D]``."""
        x = self.embedding[tokens]
        scale = self.config.embedding_scale
        return x if scale == 1.0 else x * jnp.asarray(scale, x.dtype)

    def unembed(self, x: Array) -> Array:
        """Final norm and logits ``[..., V]`` in float32 of the residual stream ``[..., D]``."""
        head = self.embedding.T if self.config.tie_embeddings else self.lm_head
        out = weights.matmul(self.final_norm(x), head, jnp.float32)
        cap = self.config.logit_softcap
        return cap * jnp.tanh(out / cap) if cap else out

    def __call__(self, tokens: Array) -> Array:
        return self.unembed(self.embed(tokens))
