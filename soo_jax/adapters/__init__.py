"""LoRA adapters as pytrees: made, applied, merged, stacked, and exchanged with PEFT."""

from soo_jax.adapters.lora import (
    Lora,
    LoraConfig,
    init_lora,
    is_stacked,
    merge,
    num_params,
    stack,
    stack_size,
    stacked,
    unstack,
)
from soo_jax.adapters.members import Member, Stack
from soo_jax.adapters.peft import load_peft, save_peft

__all__ = [
    "Lora",
    "LoraConfig",
    "Member",
    "Stack",
    "init_lora",
    "is_stacked",
    "load_peft",
    "merge",
    "num_params",
    "save_peft",
    "stack",
    "stack_size",
    "stacked",
    "unstack",
]
