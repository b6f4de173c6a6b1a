"""Kernels held in 4 or 8 bits: codes with one scale for each block of 64 input rows and output column.

``nf4`` is the 4-bit code of QLoRA (Dettmers et al. 2023, arXiv 2305.14314, appendix E): sixteen levels, each as likely
as the others where weights are normal. ``int8`` has 255 even levels. A block lies along the input axis, as in
bitsandbytes, so a column that holds an outlier spoils 64 weights and no more. Scales are bfloat16: 0.25 bits a weight,
and codes are chosen for the rounded scale.
"""

from __future__ import annotations

from dataclasses import dataclass
from functools import partial
from typing import Any

import jax
import jax.numpy as jnp
import numpy as np
from jax import Array

from soo_jax.errors import SooError

BLOCK = 64
"""Input rows that share a scale."""
SCHEMES = ("nf4", "int8")
LEVELS = np.asarray(
    [
        -1.0,
        -0.6961928009986877,
        -0.5250730514526367,
        -0.39491748809814453,
        -0.28444138169288635,
        -0.18477343022823334,
        -0.09105003625154495,
        0.0,
        0.07958029955625534,
        0.16093020141124725,
        0.24611230194568634,
        0.33791524171829224,
        0.44070982933044434,
        0.5626170039176941,
        0.7229568362236023,
        1.0,
    ],
    np.float32,
)
"""The levels of nf4: quantiles of the normal distribution, scaled to [-1, 1], with an exact zero."""
_BETWEEN = (LEVELS[1:] + LEVELS[:-1]) / 2


@partial(jax.tree_util.register_dataclass, data_fields=["codes", "scales"], meta_fields=["scheme", "inputs"])
@dataclass(frozen=True)
class Quantised:
    """A kernel ``[..., in, out]`` in blocks of 64 input rows; a last block that is not full is filled up with zeros.

    Attributes:
      codes: nf4: uint8 ``[..., blocks, 32, out]``, a byte holds row ``r`` of its block in the low half and row
        ``r + 32`` in the high one; int8: int8 ``[..., blocks, 64, out]``.
      scales: bfloat16 ``[..., blocks, 1, out]``.
      scheme: ``nf4`` or ``int8``. inputs: the size of the input axis.
    """

    codes: Any
    scales: Any
    scheme: str
    inputs: int

    @property
    def shape(self) -> tuple[int, ...]:
        """Shape of the kernel that is held."""
        return (*self.codes.shape[:-3], self.inputs, self.codes.shape[-1])


def check_scheme(scheme: str) -> None:
    """Raises SooError for a scheme that is not known."""
    if scheme not in SCHEMES:
        raise SooError(f"base dtype {scheme!r} is not supported; choose {', '.join(SCHEMES)}")


def layout(shape: tuple[int, ...], scheme: str) -> tuple[tuple[int, ...], tuple[int, ...]]:
    """Shapes of the codes and the scales of a kernel ``[..., in, out]``."""
    *lead, inputs, out = shape
    blocks = -(-inputs // BLOCK)
    return (*lead, blocks, BLOCK // 2 if scheme == "nf4" else BLOCK, out), (*lead, blocks, 1, out)


@partial(jax.jit, static_argnames="scheme")
def quantise(kernel: Array, scheme: str) -> Quantised:
    """The nearest codes for a kernel ``[..., in, out]``."""
    check_scheme(scheme)
    inputs = kernel.shape[-2]
    rest = -inputs % BLOCK
    wide = jnp.pad(kernel.astype(jnp.float32), [(0, 0)] * (kernel.ndim - 2) + [(0, rest), (0, 0)])
    blocks = wide.reshape(*wide.shape[:-2], -1, BLOCK, wide.shape[-1])
    top = 1.0 if scheme == "nf4" else 127.0
    scales = (jnp.max(jnp.abs(blocks), axis=-2, keepdims=True) / top).astype(jnp.bfloat16)
    step = scales.astype(jnp.float32)
    units = blocks / jnp.where(step == 0, 1.0, step)
    if scheme == "int8":
        codes = jnp.clip(jnp.round(units), -127, 127).astype(jnp.int8)
    else:
        codes = sum((units > edge).astype(jnp.uint8) for edge in _BETWEEN)
        codes = codes[..., : BLOCK // 2, :] | codes[..., BLOCK // 2 :, :] << 4
    return Quantised(codes, scales, scheme, inputs)


def widen(kernel: Quantised, dtype: Any) -> Array:
    """The kernel ``[..., in, out]`` as numbers of a dtype."""
    codes, out = kernel.codes, kernel.codes.shape[-1]
    if kernel.scheme == "nf4":
        levels = jnp.asarray(LEVELS, dtype)
        halves = [jnp.take(levels, (codes & 15).astype(jnp.int32)), jnp.take(levels, (codes >> 4).astype(jnp.int32))]
        units = jnp.concatenate(halves, axis=-2)
    else:
        units = codes.astype(dtype)
    wide = units * kernel.scales.astype(dtype)
    wide = wide.reshape(*codes.shape[:-3], -1, out)
    return wide[..., : kernel.inputs, :]


@jax.custom_vjp
def matmul(x: Array, kernel: Quantised) -> Array:
    """``x [..., in]`` times the kernel. The backward pass keeps the codes and widens them anew."""
    return jnp.matmul(x, widen(kernel, x.dtype))


def _forward(x: Array, kernel: Quantised) -> tuple[Array, Quantised]:
    return jnp.matmul(x, widen(kernel, x.dtype)), kernel


def _backward(kernel: Quantised, g: Array) -> tuple[Array, None]:
    return jnp.matmul(g, widen(kernel, g.dtype).T), None


matmul.defvjp(_forward, _backward)
