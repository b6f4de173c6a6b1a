"""Gemma-2: norms around both halves of a layer, scaled embeddings, soft caps, a window in every other layer."""

from __future__ import annotations

from typing import Any

from soo_jax.models.architectures.family import FOUR_NORMS, PROJECTION_TENSORS, Architecture, Settings


def _read(settings: Settings) -> dict[str, Any]:
    bias = settings.flag("attention_bias")
    return {
        "activation": settings.activation("hidden_activation"),
        "windows": settings.windows(lambda i: i % 2 == 0, settings.window()),
        "qkv_bias": bias,
        "o_bias": bias,
        "embedding_scale": settings.whole("hidden_size") ** 0.5,
        "query_scale": settings.number("query_pre_attn_scalar") ** -0.5,
        "norm_offset": True,
        "post_norms": True,
        "attn_softcap": settings.number("attn_logit_softcapping", null=0.0),
        "logit_softcap": settings.number("final_logit_softcapping", null=0.0),
    }


GEMMA2 = Architecture(
    name="gemma2",
    hf_class="Gemma2ForCausalLM",
    read=_read,
    layer_tensors={**PROJECTION_TENSORS, **FOUR_NORMS},
    defaults={
        "num_key_value_heads": 4,
        "head_dim": 256,
        "rms_norm_eps": 1e-6,
        "hidden_activation": "gelu_pytorch_tanh",
        "tie_word_embeddings": True,
        "sliding_window": 4096,
        "query_pre_attn_scalar": 256,
        "final_logit_softcapping": 30.0,
        "attn_logit_softcapping": 50.0,
        "max_position_embeddings": 8192,
    },
    plain={"use_bidirectional_attention": (None, False)},
)
