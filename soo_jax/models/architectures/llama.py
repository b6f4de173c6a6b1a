"""Llama 2 and 3: no windows, biases where the config asks for them."""

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
from soo_jax.models.config import GLOBAL


def _read(settings: Settings) -> dict[str, Any]:
    if "sliding_attention" in (settings.get("layer_types") or ()):
        raise SooError(f"{settings.where}: layer_types with sliding_attention is not supported for llama")
    bias = settings.flag("attention_bias")
    return {
        "activation": settings.activation("hidden_act"),
        "windows": (GLOBAL,) * settings.whole("num_hidden_layers"),
        "qkv_bias": bias,
        "o_bias": bias,
        "mlp_bias": settings.flag("mlp_bias"),
    }


LLAMA = Architecture(
    name="llama",
    hf_class="LlamaForCausalLM",
    read=_read,
    layer_tensors={**PROJECTION_TENSORS, **TWO_NORMS},
    defaults={"rms_norm_eps": 1e-6, "hidden_act": "silu", "max_position_embeddings": 2048},
    nullable=("num_key_value_heads", "head_dim"),
    # transformers would cut its cache to a window that the model's attention does not have.
    plain={"sliding_window": (None,)},
    write=lambda config: {"attention_bias": config.qkv_bias, "mlp_bias": config.mlp_bias},
    # Mistral's own files say llama as well: their windows are not told, as transformers reads them, too.
    gguf=Gguf("llama", GGUF_TWO_NORMS, permuted=True),
)
