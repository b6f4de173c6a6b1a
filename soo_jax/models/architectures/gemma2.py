"""Gemma-2: norms around both halves of a layer, scaled embeddings, soft caps, a window in every other layer."""

from __future__ import annotations

from collections.abc import Callable, Mapping
from typing import Any

from soo_jax.models.architectures.family import (
    FOUR_NORMS,
    GGUF_FOUR_NORMS,
    PROJECTION_TENSORS,
    Architecture,
    Gguf,
    Settings,
)


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


def _from_gguf(told: Callable[..., Any], raw: Mapping[str, Any]) -> dict[str, Any]:
    # What a query is divided by is not told: by its width, but in the 27b model by that of the stream.
    width = raw["hidden_size"] // raw["num_attention_heads"] if raw["num_hidden_layers"] == 46 else raw["head_dim"]
    return {
        "sliding_window": told("attention.sliding_window", 4096),
        "attn_logit_softcapping": told("attn_logit_softcapping", 50.0),
        "final_logit_softcapping": told("final_logit_softcapping", 30.0),
        "query_pre_attn_scalar": width,
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
    gguf=Gguf("gemma2", GGUF_FOUR_NORMS, norm_offset=True, settings=_from_gguf),
)
