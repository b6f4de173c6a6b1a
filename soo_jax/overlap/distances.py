"""Distances between two sides: plain functions of two arrays and a mask.

``x`` is the self side (for ``retain`` the base model), ``y`` the other side. Both are ``[..., D]``, the mask is
``[...]`` bool, the result a float32 scalar: a mean over the rows that the mask lets through, 0 if there are none.
Sums run in float32 whatever the dtype of the activations.
"""

from __future__ import annotations

from collections.abc import Callable

import jax
import jax.numpy as jnp
from jax import Array

Distance = Callable[[Array, Array, Array], Array]
_TINY = 1e-12


def _rows(values: Array, mask: Array) -> Array:
    """Mean of ``values [...]`` over the mask, with no gradient and no NaN from what is masked out."""
    return jnp.sum(jnp.where(mask, values, 0.0)) / jnp.maximum(jnp.sum(mask), 1)


def _wide(x: Array, y: Array, mask: Array) -> tuple[Array, Array]:
    """Float32 sides with zeros where nothing is compared."""
    keep = lambda a: jnp.where(mask[..., None], a.astype(jnp.float32), 0.0)
    return keep(x), keep(y)


def mse(x: Array, y: Array, mask: Array) -> Array:
    """Mean squared difference, the paper's loss: ``mean((x - y)^2)``."""
    x, y = _wide(x, y, mask)
    return _rows(jnp.mean((x - y) ** 2, axis=-1), mask)


def log_mse(x: Array, y: Array, mask: Array) -> Array:
    """``log(mse + 1e-25)``, the scale in which the paper's RL experiment reports overlap. Not zero on equal sides."""
    return jnp.log(mse(x, y, mask) + 1e-25)


def normalised_mse(x: Array, y: Array, mask: Array) -> Array:
    """``mse`` over the variance of the activations across rows (mean of both sides, no gradient through it).

    Shrinking all activations does not lower it. Needs two rows or more: one row has no variance.
    """
    wide = _wide(x, y, mask)
    spread = (_variance(wide[0], mask) + _variance(wide[1], mask)) / 2
    return mse(x, y, mask) / (jax.lax.stop_gradient(spread) + _TINY)


def relative_mse(x: Array, y: Array, mask: Array) -> Array:
    """``mse`` over the mean square of both sides (no gradient through it); defined from one row on."""
    wide = _wide(x, y, mask)
    power = sum(_rows(jnp.mean(side**2, axis=-1), mask) for side in wide) / 2
    return mse(x, y, mask) / (jax.lax.stop_gradient(power) + _TINY)


def _variance(x: Array, mask: Array) -> Array:
    count = jnp.maximum(mask.sum(), 1)
    axes = tuple(range(x.ndim - 1))
    centre = x.sum(axis=axes) / count
    return jnp.sum(jnp.where(mask[..., None], (x - centre) ** 2, 0.0)) / (count * x.shape[-1])


def smooth_l1(x: Array, y: Array, mask: Array) -> Array:
    """Huber distance with its knee at 1: squared near zero, linear far away."""
    x, y = _wide(x, y, mask)
    size = jnp.abs(x - y)
    return _rows(jnp.mean(jnp.where(size < 1.0, 0.5 * size**2, size - 0.5), axis=-1), mask)


def cosine(x: Array, y: Array, mask: Array) -> Array:
    """``1 - cos(x, y)``; blind to length. Computed as half the squared distance of the unit vectors, so that two
    zero vectors are equal rather than undefined.
    """
    x, y = _wide(x, y, mask)
    unit = lambda a: a / jnp.sqrt(jnp.sum(a**2, axis=-1, keepdims=True) + _TINY)
    return _rows(jnp.sum((unit(x) - unit(y)) ** 2, axis=-1) / 2, mask)


def kl(x: Array, y: Array, mask: Array) -> Array:
    """``KL(softmax(x) || softmax(y))`` of logits, mean over rows (per token)."""
    x, y = _wide(x, y, mask)
    p, q = jax.nn.log_softmax(x, axis=-1), jax.nn.log_softmax(y, axis=-1)
    return _rows(jnp.sum(jnp.exp(p) * (p - q), axis=-1), mask)


def kl_batchmean(x: Array, y: Array, mask: Array) -> Array:
    """``kl`` summed over tokens and divided by the number of examples: the reduction of the paper's public code."""
    return kl(x, y, mask) * jnp.sum(mask) / mask.shape[0]


def linear_cka(x: Array, y: Array, mask: Array) -> Array:
    """``1 - CKA`` with linear kernels over the rows (Kornblith et al. 2019); blind to rotation and scale."""
    rows = mask.reshape(-1)
    count = jnp.maximum(rows.sum(), 1)

    def centred(a):
        a = a.reshape(-1, a.shape[-1])
        return jnp.where(rows[:, None], a - a.sum(axis=0) / count, 0.0)

    x, y = (centred(a) for a in _wide(x, y, mask))
    cross = lambda a, b: jnp.sum((a.T @ b) ** 2)
    return 1.0 - cross(x, y) / (jnp.sqrt(cross(x, x) * cross(y, y) + _TINY**2) + _TINY)


DISTANCES: dict[str, Distance] = {
    function.__name__: function
    for function in (
        mse,
        log_mse,
        normalised_mse,
        relative_mse,
        smooth_l1,
        cosine,
        kl,
        kl_batchmean,
        linear_cka,
    )
}
"""The distances by name, for the command line."""
