"""OLMo-2: norms behind attention and MLP only, queries and keys normalised over their whole width."""

from __future__ import annotations

from typing import Any

from soo_jax.models.architectures.family import PROJECTION_TENSORS, QK_NORMS, Architecture, Settings
from soo_jax.models.config import GLOBAL

_NORMS = {
    ("post_attn_norm", "scale"): "model.layers.{}.post_attention_layernorm.weight",
    ("post_mlp_norm", "scale"): "model.layers.{}.post_feedforward_layernorm.weight",
}


def _read(settings: Settings) -> dict[str, Any]:
    bias = settings.flag("attention_bias")
    return {
        "activation": settings.activation("hidden_act"),
        "windows": (GLOBAL,) * settings.whole("num_hidden_layers"),
        "qkv_bias": bias,
        "o_bias": bias,
        "qk_norm": "width",
        "pre_norms": False,
        "post_norms": True,
    }


OLMO2 = Architecture(
    name="olmo2",
    hf_class="Olmo2ForCausalLM",
    read=_read,
    layer_tensors={**PROJECTION_TENSORS, **_NORMS, **QK_NORMS},
    defaults={"rms_norm_eps": 1e-5, "hidden_act": "silu", "max_position_embeddings": 2048},
    nullable=("num_key_value_heads",),
    # transformers would cut its cache to windows that the model's attention does not have.
    plain={"sliding_window": (None,), "layer_types": (None,)},
)
