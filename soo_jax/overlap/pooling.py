"""Which tokens of the two sides are compared. Shapes: B batch, T tokens, D width; ``...`` may be a layer axis."""

from __future__ import annotations

import jax.numpy as jnp
from jax import Array

POOLINGS = ("last", "all", "mean")


def last(x: Array, mask: Array) -> tuple[Array, Array]:
    """The last token that is text: ``[..., B, T, D]`` to ``[..., B, D]``, mask ``[B, T]`` to ``[B]``."""
    where = jnp.argmax(jnp.where(mask, jnp.arange(mask.shape[-1]), -1), axis=-1)
    index = where.reshape((1,) * (x.ndim - 3) + (-1, 1, 1))
    return jnp.take_along_axis(x, index, axis=-2)[..., 0, :], mask.any(axis=-1)


def mean(x: Array, mask: Array) -> tuple[Array, Array]:
    """The mean over the tokens that are text (float32 sums): ``[..., B, T, D]`` to ``[..., B, D]``."""
    weight = mask[..., None].astype(jnp.float32)
    total = jnp.sum(jnp.where(weight > 0, x.astype(jnp.float32), 0.0), axis=-2)
    return (total / jnp.maximum(weight.sum(axis=-2), 1.0)).astype(x.dtype), mask.any(axis=-1)


def aligned(x: Array, x_mask: Array, y: Array, y_mask: Array) -> tuple[Array, Array, Array]:
    """Pairs the tokens of two sides from their last text token backwards.

    Sides may differ in length and be padded on either side; what has no partner is masked out.

    Returns:
      ``x`` and ``y`` ``[..., B, T', D]`` and the common mask ``[B, T']``, T' the shorter of the two lengths.
    """
    x, x_mask = _flush_right(x, x_mask)
    y, y_mask = _flush_right(y, y_mask)
    common = min(x_mask.shape[-1], y_mask.shape[-1])
    cut = lambda a, axis: jnp.take(a, jnp.arange(a.shape[axis] - common, a.shape[axis]), axis=axis)
    return cut(x, -2), cut(y, -2), cut(x_mask, -1) & cut(y_mask, -1)


def _flush_right(x: Array, mask: Array) -> tuple[Array, Array]:
    """Rolls each row until its last text token stands at the end."""
    length = mask.shape[-1]
    end = jnp.argmax(jnp.where(mask, jnp.arange(length), -1), axis=-1)
    source = (jnp.arange(length) - (length - 1 - end)[:, None]) % length
    index = source.reshape((1,) * (x.ndim - 3) + (*source.shape, 1))
    return jnp.take_along_axis(x, index, axis=-2), jnp.take_along_axis(mask, source, axis=-1)


def pooled(x: Array, x_mask: Array, y: Array, y_mask: Array, tokens: str | None) -> tuple[Array, Array, Array]:
    """Both sides reduced as ``tokens`` says (``last``, ``mean``, ``all``; None: there is no token axis).

    Returns:
      ``x``, ``y`` and their common mask, ready for a distance.
    """
    if tokens is None:
        return x, y, x_mask & y_mask
    if tokens == "all":
        return aligned(x, x_mask, y, y_mask)
    pool = {"last": last, "mean": mean}[tokens]
    (x, x_mask), (y, y_mask) = pool(x, x_mask), pool(y, y_mask)
    return x, y, x_mask & y_mask
