"""Mistral: one sliding window for all layers, or none."""

from __future__ import annotations

from typing import Any

from soo_jax.errors import SooError
from soo_jax.models.architectures.family import (
    GGUF_TWO_NORMS,
    PROJECTION_TENSORS,
    TWO_NORMS,
    Architecture,
    Gguf,
    Settings,
)
from soo_jax.models.config import GLOBAL, DecoderConfig


def _read(settings: Settings) -> dict[str, Any]:
    if "layer_types" in settings.raw:
        raise SooError(
            f"{settings.where}: layer_types is not supported for mistral, whose layers have one window; transformers "
            f"reads it for ministral"
        )
    window = settings.window() or GLOBAL
    return {
        "activation": settings.activation("hidden_act"),
        "windows": (window,) * settings.whole("num_hidden_layers"),
    }


def _write(config: DecoderConfig) -> dict[str, Any]:
    windows = set(config.windows)
    if len(windows) > 1:
        raise SooError("config: Mistral has one sliding window for all layers")
    window = windows.pop()
    return {"sliding_window": None if window > config.max_positions else window}


MISTRAL = Architecture(
    name="mistral",
    hf_class="MistralForCausalLM",
    read=_read,
    layer_tensors={**PROJECTION_TENSORS, **TWO_NORMS},
    defaults={
        "num_key_value_heads": 8,
        "sliding_window": 4096,
        "rms_norm_eps": 1e-6,
        "hidden_act": "silu",
        "max_position_embeddings": 4096 * 32,
    },
    nullable=("head_dim",),
    write=_write,
    gguf=Gguf("mistral", GGUF_TWO_NORMS, permuted=True, settings=lambda told, raw: {"sliding_window": None}),
)
