"""Qwen2 and 2.5 (CalmeRys-78B among them): biases on queries, keys and values, windows only if switched on."""

from __future__ import annotations

from typing import Any

from soo_jax.models.architectures.family import (
    GGUF_TWO_NORMS,
    PROJECTION_TENSORS,
    TWO_NORMS,
    Architecture,
    Gguf,
    Settings,
)


def _read(settings: Settings) -> dict[str, Any]:
    window = settings.window() if settings.flag("use_sliding_window") else None
    first = settings.whole("max_window_layers", least=0)
    return {
        "activation": settings.activation("hidden_act"),
        "windows": settings.windows(lambda i: window is not None and i >= first, window),
        "qkv_bias": True,
    }


QWEN2 = Architecture(
    name="qwen2",
    hf_class="Qwen2ForCausalLM",
    read=_read,
    layer_tensors={**PROJECTION_TENSORS, **TWO_NORMS},
    defaults={
        "num_key_value_heads": 32,
        "rms_norm_eps": 1e-6,
        "hidden_act": "silu",
        "use_sliding_window": False,
        "sliding_window": 4096,
        "max_window_layers": 28,
        "max_position_embeddings": 32768,
    },
    nullable=("num_key_value_heads",),
    gguf=Gguf("qwen2", GGUF_TWO_NORMS),
)
