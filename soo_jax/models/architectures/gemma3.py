"""Gemma-3 for text: five layers with a window and their own rotary base, then one that sees all; norms on queries and
keys. Of the models that also see pictures the text part alone is read, from a folder of its own."""

from __future__ import annotations

from collections.abc import Callable, Mapping
from typing import Any

from soo_jax.errors import SooError
from soo_jax.models.architectures.family import (
    FOUR_NORMS,
    GGUF_FOUR_NORMS,
    GGUF_QK_NORMS,
    PROJECTION_TENSORS,
    QK_NORMS,
    Architecture,
    Gguf,
    Settings,
)
from soo_jax.models.config import GLOBAL, Rope


def _read(settings: Settings) -> dict[str, Any]:
    bias = settings.flag("attention_bias")
    every = settings.whole("sliding_window_pattern")
    windows = settings.windows(lambda i: (i + 1) % every != 0, settings.window())
    far, near = _ropes(settings)
    return {
        "activation": settings.activation("hidden_activation"),
        "windows": windows,
        "rope": far,
        "layer_ropes": tuple(far if window == GLOBAL else near for window in windows),
        "qkv_bias": bias,
        "o_bias": bias,
        "embedding_scale": settings.whole("hidden_size") ** 0.5,
        "query_scale": settings.number("query_pre_attn_scalar") ** -0.5,
        "norm_offset": True,
        "qk_norm": "head",
        "post_norms": True,
        "logit_softcap": settings.number("final_logit_softcapping", 0.0, null=0.0),
    }


def _ropes(settings: Settings) -> tuple[Rope, Rope]:
    """Rotary positions of the layers that see all, and of those with a window."""
    told = settings.get("rope_parameters") or {}
    if not isinstance(told, dict) or set(told) - {"full_attention", "sliding_attention"}:
        raise SooError(
            f"{settings.where}: rope_parameters must hold full_attention and sliding_attention; copy the file again"
        )
    if told.get("full_attention") and settings.get("rope_scaling"):
        raise SooError(f"{settings.where}: has both rope_scaling and rope_parameters; remove one of the two")
    scaling = settings.get("rope_scaling") or {}
    if not isinstance(scaling, dict) or ("type" in scaling and "rope_type" not in scaling):
        # transformers passes over the old name of the type here, and would not scale at all.
        raise SooError(f"{settings.where}: rope_scaling must name its kind as rope_type; correct the file")
    if scaling and settings.get("original_max_position_embeddings") is not None:
        raise SooError(f"{settings.where}: original_max_position_embeddings must stand inside rope_scaling")
    far = settings.rope(told.get("full_attention") or {})
    outer = settings.get("rope_local_base_freq", 10000.0)
    local = {"rope_theta": outer, **(told.get("sliding_attention") or {})}
    near = Settings({"rope_parameters": local}, {}, settings.where).rope()
    if near.kind != "default":
        raise SooError(f"{settings.where}: rope_parameters of sliding_attention: only the default type is supported")
    return far, near


def _from_gguf(told: Callable[..., Any], raw: Mapping[str, Any]) -> dict[str, Any]:
    # Not told: what a query is divided by (in the 27b model the width of the stream per head, else of a head), the
    # rotary base of layers with a window, and which layers have one.
    width = raw["hidden_size"] // raw["num_attention_heads"] if raw["num_hidden_layers"] == 62 else raw["head_dim"]
    return {
        "model_type": "gemma3_text",
        "rope_local_base_freq": 10000.0,
        "sliding_window_pattern": 6,
        "sliding_window": told("attention.sliding_window", 4096),
        "query_pre_attn_scalar": width,
    }


GEMMA3 = Architecture(
    name="gemma3_text",
    hf_class="Gemma3ForCausalLM",
    read=_read,
    layer_tensors={**PROJECTION_TENSORS, **FOUR_NORMS, **QK_NORMS},
    defaults={
        "vocab_size": 262_208,
        "num_key_value_heads": 4,
        "head_dim": 256,
        "rms_norm_eps": 1e-6,
        "hidden_activation": "gelu_pytorch_tanh",
        "tie_word_embeddings": True,
        "sliding_window": 4096,
        "sliding_window_pattern": 6,
        "rope_theta": 1_000_000.0,
        "query_pre_attn_scalar": 256,
        "max_position_embeddings": 131_072,
    },
    # transformers keeps a cap on attention in the config and does not apply it.
    plain={"use_bidirectional_attention": (None, False), "attn_logit_softcapping": (None,)},
    gguf=Gguf("gemma3", {**GGUF_FOUR_NORMS, **GGUF_QK_NORMS}, norm_offset=True, settings=_from_gguf),
)
