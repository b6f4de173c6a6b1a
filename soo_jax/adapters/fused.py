"""Adapters of models whose files hold several projections in one matrix: PEFT knows the matrix, this library its parts.

``W = [W_q; W_k; W_v]`` with an adapter of rank r on each part is the same as one of rank 3 r on the whole: its A stacks
theirs, its B is block-diagonal. The other way round, an adapter of the whole is one of every part, with the same A.
"""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import replace

import numpy as np

from soo_jax.adapters.lora import LoraConfig
from soo_jax.models.architectures import architecture
from soo_jax.models.architectures.family import module_of
from soo_jax.models.config import DecoderConfig

Factors = dict[tuple[str, int, str], np.ndarray]
"""By module (``self_attn.q_proj``), layer and side: ``A [r, in]`` and ``B [out, r]``, as PEFT stores them."""


def module_in_file(target: str, model: DecoderConfig | None) -> str:
    """The module under which a projection is adapted in PEFT's files."""
    for module, parts in _fused(model).items():
        if target in parts:
            return module
    return module_of(target)


def fuse(factors: Factors, config: LoraConfig, model: DecoderConfig | None) -> tuple[Factors, LoraConfig]:
    """Factors of projections as factors of the modules in files; the settings with rank and alpha of these."""
    groups = _fused(model)
    inside = {module_of(part): (module, k) for module, parts in groups.items() for k, part in enumerate(parts)}
    if model is None or not any(module in inside for module, _, _ in factors):
        return factors, config
    many = max(len(groups[inside[module][0]]) for module, _, _ in factors if module in inside)
    rank = many * config.rank
    found: Factors = {}
    for (module, layer, side), value in factors.items():
        whole, k = inside.get(module, (module, 0))
        if (whole, layer, side) not in found:
            parts = groups.get(whole, ())
            rows = (
                sum(model.projection_shape(part)[1] for part in parts)
                if parts
                else factors[module, layer, "B"].shape[0]
            )
            shape = (rank, value.shape[1]) if side == "A" else (rows, rank)
            found[whole, layer, side] = np.zeros(shape, value.dtype)
        own = slice(k * config.rank, (k + 1) * config.rank)
        if side == "A":
            found[whole, layer, side][own] = value
        else:
            before = sum(model.projection_shape(part)[1] for part in groups.get(whole, ())[:k])
            found[whole, layer, side][before : before + len(value), own] = value
    alpha = config.alpha * (many**0.5 if config.rslora else many)
    return found, replace(config, rank=rank, alpha=alpha)


def split(factors: Factors, model: DecoderConfig) -> Factors:
    """Factors of the modules in files as factors of projections."""
    found: Factors = {}
    for (module, layer, side), value in factors.items():
        parts = _fused(model).get(module)
        if parts is None:
            found[module, layer, side] = value
            continue
        ends = np.cumsum([0, *(model.projection_shape(part)[1] for part in parts)])
        for part, first, last in zip(parts, ends, ends[1:], strict=False):
            found[module_of(part), layer, side] = value if side == "A" else value[first:last]
    return found


def _fused(model: DecoderConfig | None) -> Mapping[str, tuple[str, ...]]:
    return {} if model is None else architecture(model.architecture).fused
