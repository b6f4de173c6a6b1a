"""What a kernel is: the weights ``[..., in, out]`` of a linear map. Only this file looks inside one.

Today a kernel is a plain array; whatever else it may become has the same functions.
"""

from __future__ import annotations

from typing import Any

import jax.numpy as jnp
from jax import Array

Kernel = Array
"""Weights ``[in, out]``, or ``[L, in, out]`` of all layers together."""


def matmul(x: Array, kernel: Kernel, precision: Any = None) -> Array:
    """``x [..., in]`` times the kernel ``[in, out]``, in the dtype of ``x``, or with results in dtype ``precision``."""
    return jnp.matmul(x, kernel.astype(x.dtype), preferred_element_type=precision)


def dtype(kernel: Kernel) -> Any:
    """The dtype in which the weights are held."""
    return kernel.dtype


def squared_norm(kernel: Kernel) -> Array:
    """Sum of the squares of all weights (float32)."""
    return jnp.sum(jnp.square(kernel.astype(jnp.float32)))


def plus(kernel: Kernel, update: Array, rows: Any = slice(None)) -> Kernel:
    """The kernel ``[L, in, out]`` with ``update [n, in, out]`` added to the layers ``rows``: sums in float32, the dtype
    of the kernel."""
    added = (kernel[rows].astype(jnp.float32) + update).astype(kernel.dtype)
    return kernel.at[rows].set(added)
