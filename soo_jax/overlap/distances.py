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
    r"""Mean squared difference, the paper's loss.

    .. math:: d(x, y) = \frac{1}{nD} \sum_{i=1}^{n} \lVert x_i - y_i \rVert^2

    >>> import jax.numpy as jnp
    >>> from soo_jax.overlap import mse
    >>> float(mse(jnp.zeros((2, 3)), jnp.full((2, 3), 2.0), mask=jnp.array([True, False])))
    4.0
    """
    x, y = _wide(x, y, mask)
    return _rows(jnp.mean((x - y) ** 2, axis=-1), mask)


def log_mse(x: Array, y: Array, mask: Array) -> Array:
    r"""The scale in which the paper's RL experiment reports overlap. Not zero on equal sides.

    .. math:: d(x, y) = \log(\mathrm{mse}(x, y) + 10^{-25})

    >>> import jax.numpy as jnp
    >>> from soo_jax.overlap import log_mse
    >>> one = jnp.ones((1, 4))
    >>> round(float(log_mse(one, one, mask=jnp.array([True]))), 2)
    -57.56
    """
    return jnp.log(mse(x, y, mask) + 1e-25)


def normalised_mse(x: Array, y: Array, mask: Array) -> Array:
    r"""``mse`` over the variance of the activations across rows (mean of both sides, no gradient through it).

    .. math:: d(x, y) = \frac{\mathrm{mse}(x, y)}{(\mathrm{var}\,x + \mathrm{var}\,y) / 2}

    Shrinking all activations does not lower it. Needs two rows or more: one row has no variance.

    >>> import jax.numpy as jnp
    >>> from soo_jax.overlap import normalised_mse
    >>> x, mask = jnp.array([[1.0], [-1.0]]), jnp.array([True, True])
    >>> float(normalised_mse(x, -x, mask)), float(normalised_mse(0.01 * x, -0.01 * x, mask))
    (4.0, 4.0)
    """
    wide = _wide(x, y, mask)
    spread = (_variance(wide[0], mask) + _variance(wide[1], mask)) / 2
    return mse(x, y, mask) / (jax.lax.stop_gradient(spread) + _TINY)


def relative_mse(x: Array, y: Array, mask: Array) -> Array:
    r"""``mse`` over the mean square of both sides (no gradient through it); defined from one row on.

    .. math:: d(x, y) = \frac{\mathrm{mse}(x, y)}{(\overline{x^2} + \overline{y^2}) / 2}

    >>> import jax.numpy as jnp
    >>> from soo_jax.overlap import relative_mse
    >>> float(relative_mse(jnp.array([[5.0]]), jnp.array([[-5.0]]), mask=jnp.array([True])))
    4.0
    """
    wide = _wide(x, y, mask)
    power = sum(_rows(jnp.mean(side**2, axis=-1), mask) for side in wide) / 2
    return mse(x, y, mask) / (jax.lax.stop_gradient(power) + _TINY)


def _variance(x: Array, mask: Array) -> Array:
    count = jnp.maximum(mask.sum(), 1)
    axes = tuple(range(x.ndim - 1))
    centre = x.sum(axis=axes) / count
    return jnp.sum(jnp.where(mask[..., None], (x - centre) ** 2, 0.0)) / (count * x.shape[-1])


def smooth_l1(x: Array, y: Array, mask: Array) -> Array:
    r"""Huber distance with its knee at 1: squared near zero, linear far away.

    .. math:: d(x, y) = \overline{h(x - y)}, \quad
        h(e) = \tfrac12 e^2 \text{ if } |e| < 1 \text{ else } |e| - \tfrac12

    >>> import jax.numpy as jnp
    >>> from soo_jax.overlap import smooth_l1
    >>> float(smooth_l1(jnp.array([[0.0, 0.0]]), jnp.array([[0.5, 10.0]]), mask=jnp.array([True])))
    4.8125
    """
    x, y = _wide(x, y, mask)
    size = jnp.abs(x - y)
    return _rows(jnp.mean(jnp.where(size < 1.0, 0.5 * size**2, size - 0.5), axis=-1), mask)


def cosine(x: Array, y: Array, mask: Array) -> Array:
    r"""One minus the cosine of the angle, mean over rows; blind to length.

    .. math:: d(x, y) = 1 - \frac{x \cdot y}{\lVert x \rVert \lVert y \rVert}

    Computed as half the squared distance of the unit vectors, so that two zero vectors are equal rather than undefined.

    >>> import jax.numpy as jnp
    >>> from soo_jax.overlap import cosine
    >>> float(cosine(jnp.array([[1.0, 0.0]]), jnp.array([[0.0, 7.0]]), mask=jnp.array([True])))
    1.0
    """
    x, y = _wide(x, y, mask)
    unit = lambda a: a / jnp.sqrt(jnp.sum(a**2, axis=-1, keepdims=True) + _TINY)
    return _rows(jnp.sum((unit(x) - unit(y)) ** 2, axis=-1) / 2, mask)


def kl(x: Array, y: Array, mask: Array) -> Array:
    r"""Kullback-Leibler divergence of logits, mean over rows (nats per token).

    .. math:: d(x, y) = \sum_v p_v \log \frac{p_v}{q_v}, \quad p = \mathrm{softmax}(x), q = \mathrm{softmax}(y)

    >>> import jax.numpy as jnp
    >>> from soo_jax.overlap import kl
    >>> half, sure = jnp.log(jnp.array([[0.5, 0.5]])), jnp.log(jnp.array([[0.9, 0.1]]))
    >>> round(float(kl(half, sure, mask=jnp.array([True]))), 4)
    0.5108
    """
    x, y = _wide(x, y, mask)
    p, q = jax.nn.log_softmax(x, axis=-1), jax.nn.log_softmax(y, axis=-1)
    return _rows(jnp.sum(jnp.exp(p) * (p - q), axis=-1), mask)


def kl_batchmean(x: Array, y: Array, mask: Array) -> Array:
    r"""``kl`` summed over tokens and divided by the number of examples: the reduction of the paper's public code.

    .. math:: d(x, y) = \frac{1}{B} \sum_{b, t} \mathrm{KL}(p_{bt} \Vert q_{bt})

    >>> import jax.numpy as jnp
    >>> from soo_jax.overlap import kl, kl_batchmean
    >>> x, y, mask = jnp.ones((2, 5, 3)), jnp.arange(30.0).reshape(2, 5, 3), jnp.ones((2, 5), bool)
    >>> round(float(kl_batchmean(x, y, mask) / kl(x, y, mask)), 3)
    5.0
    """
    return kl(x, y, mask) * jnp.sum(mask) / mask.shape[0]


def linear_cka(x: Array, y: Array, mask: Array) -> Array:
    r"""One minus centred kernel alignment with linear kernels over the rows; blind to rotation and scale.

    .. math:: d(x, y) = 1 - \frac{\lVert X^T Y \rVert_F^2}{\lVert X^T X \rVert_F \lVert Y^T Y \rVert_F}

    X and Y have centred columns. Source: Kornblith et al. 2019, arXiv 1905.00414.

    >>> import jax.numpy as jnp
    >>> from soo_jax.overlap import linear_cka
    >>> x, mask = jnp.array([[1.0, 2.0], [3.0, 1.0], [0.0, 5.0]]), jnp.ones(3, bool)
    >>> abs(round(float(linear_cka(x, 3 * x[:, ::-1], mask)), 5))
    0.0
    """
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
