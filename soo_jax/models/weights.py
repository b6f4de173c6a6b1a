"""What a kernel is: the weights ``[..., in, out]`` of a linear map, wide or quantised.

A wide kernel is a plain array; a quantised one (:mod:`soo_jax.models.quantised`) holds codes and scales. Whoever
computes with kernels asks here; only what reads and writes files looks inside one, too.
"""

from __future__ import annotations

from collections.abc import Callable, Mapping
from typing import Any

import jax
import jax.numpy as jnp
from jax import Array

from soo_jax.errors import SooError
from soo_jax.models import quantised
from soo_jax.models.quantised import Quantised

Kernel = Array | Quantised
"""Weights ``[in, out]``, or ``[L, in, out]`` of all layers together."""


def matmul(x: Array, kernel: Kernel, precision: Any = None) -> Array:
    """``x [..., in]`` times the kernel ``[in, out]``, in the dtype of ``x``, or with results in dtype ``precision``."""
    if isinstance(kernel, Quantised):
        return quantised.matmul(x, kernel)
    return jnp.matmul(x, kernel.astype(x.dtype), preferred_element_type=precision)


def scheme(params: Mapping[str, Any]) -> str | None:
    """In which scheme the kernels of a model are quantised; None if they are wide."""
    kernel = params["layers"]["q_proj"]["kernel"]
    return kernel.scheme if isinstance(kernel, Quantised) else None


def squared_norm(kernel: Kernel) -> Array:
    """Sum of the squares of all weights (float32), one layer at a time where the kernel is quantised."""
    if isinstance(kernel, Quantised):
        return jnp.sum(jax.lax.map(lambda one: squared_norm(quantised.widen(one, jnp.float32)), kernel))
    return jnp.sum(jnp.square(kernel.astype(jnp.float32)))


def plus(kernel: Kernel, update: Array, rows: Any = slice(None)) -> Kernel:
    """The kernel ``[L, in, out]`` with ``update [n, in, out]`` added to the layers ``rows``: sums in float32, the dtype
    of the kernel.

    Raises:
      SooError: the kernel is quantised; a sum would have to be rounded to its few levels.
    """
    if isinstance(kernel, Quantised):
        raise SooError(
            f"weights held as {kernel.scheme} cannot be added to; load the wide model, without --dtype {kernel.scheme}"
        )
    added = (kernel[rows].astype(jnp.float32) + update).astype(kernel.dtype)
    return kernel.at[rows].set(added)


def quantise(params: Mapping[str, Any], name: str) -> dict[str, Any]:
    """Parameters with every kernel of the layers in ``nf4`` or ``int8``; embedding, head, norms and biases stay wide.

    Raises:
      SooError: an unknown scheme, or parameters that are quantised already.
    """
    quantised.check_scheme(name)

    def one(leaf: Kernel) -> Quantised:
        if isinstance(leaf, Quantised):
            raise SooError(f"weights are held as {leaf.scheme} already")
        return quantised.quantise(leaf, name)

    return map_kernels(params, one)


def widen(params: Mapping[str, Any], dtype: Any) -> dict[str, Any]:
    """Parameters with every quantised kernel as numbers of a dtype."""
    return map_kernels(params, lambda leaf: quantised.widen(leaf, dtype) if isinstance(leaf, Quantised) else leaf)


def map_kernels(params: Mapping[str, Any], change: Callable[[Any], Any]) -> dict[str, Any]:
    """A tree like the parameters, of anything, with ``change`` applied where the kernels of the layers stand."""
    layers = {
        name: {**module, "kernel": change(module["kernel"])} if "kernel" in module else module
        for name, module in params["layers"].items()
    }
    return {**params, "layers": layers}
