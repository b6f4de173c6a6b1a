"""SmolLM3: every fourth layer knows no positions."""

from __future__ import annotations

from typing import Any

from soo_jax.errors import SooError
from soo_jax.models.architectures.family import PROJECTION_TENSORS, TWO_NORMS, Architecture, Settings
from soo_jax.models.config import GLOBAL, Rope


def _read(settings: Settings) -> dict[str, Any]:
    layers, bias = settings.whole("num_hidden_layers"), settings.flag("attention_bias")
    every = settings.whole("no_rope_layer_interval")
    turned = settings.get("no_rope_layers")
    if turned is None:
        turned = [int((i + 1) % every != 0) for i in range(layers)]
    if not isinstance(turned, list) or len(turned) < layers or set(turned) - {0, 1}:
        raise SooError(f"{settings.where}: no_rope_layers must be a list of 0 and 1, one for each of {layers} layers")
    if settings.flag("use_sliding_window") or "sliding_attention" in (settings.get("layer_types") or ()):
        raise SooError(f"{settings.where}: sliding windows are not supported for smollm3")
    rope = settings.rope()
    return {
        "activation": settings.activation("hidden_act"),
        "windows": (GLOBAL,) * layers,
        "layer_ropes": tuple(rope if turned[i] else Rope(kind="none") for i in range(layers)),
        "qkv_bias": bias,
        "o_bias": bias,
        "mlp_bias": settings.flag("mlp_bias"),
    }


SMOLLM3 = Architecture(
    name="smollm3",
    hf_class="SmolLM3ForCausalLM",
    read=_read,
    layer_tensors={**PROJECTION_TENSORS, **TWO_NORMS},
    defaults={
        "num_key_value_heads": 4,
        "rms_norm_eps": 1e-6,
        "hidden_act": "silu",
        "rope_theta": 2_000_000.0,
        "no_rope_layer_interval": 4,
        "max_position_embeddings": 32768,
        "tie_word_embeddings": True,
    },
    nullable=("num_key_value_heads",),
)
