"""Phi-3: queries, keys and values in one matrix, gate and up in another; one sliding window for all layers, or none."""

from __future__ import annotations

from typing import Any

from soo_jax.errors import SooError
from soo_jax.models.architectures.family import PROJECTION_TENSORS, TWO_NORMS, Architecture, Settings
from soo_jax.models.config import GLOBAL


def _read(settings: Settings) -> dict[str, Any]:
    window = settings.window() or GLOBAL
    if settings.rope().kind != "default":
        raise SooError(
            f"{settings.where}: rotary positions of phi3 are scaled by longrope or not at all; copy the file"
        )
    if "sliding_attention" in (settings.get("layer_types") or ()):
        raise SooError(f"{settings.where}: layer_types is not supported for phi3, whose layers have one window")
    if settings.raw.get("partial_rotary_factor", 1.0) is None:
        raise SooError(f"{settings.where}: partial_rotary_factor must be a number, found null; copy the file again")
    return {
        "activation": settings.activation("hidden_act"),
        "windows": (window,) * settings.whole("num_hidden_layers"),
    }


PHI3 = Architecture(
    name="phi3",
    hf_class="Phi3ForCausalLM",
    read=_read,
    layer_tensors={**PROJECTION_TENSORS, **TWO_NORMS},
    defaults={"rms_norm_eps": 1e-5, "hidden_act": "silu", "max_position_embeddings": 4096},
    nullable=("num_key_value_heads",),
    fused={"self_attn.qkv_proj": ("q_proj", "k_proj", "v_proj"), "mlp.gate_up_proj": ("gate_proj", "up_proj")},
)
