"""soo-jax: Self-Other Overlap fine-tuning and measurement, in JAX.

The names below are loaded when they are first used, so that ``import soo_jax`` and ``soo --help`` answer at once.
"""

from __future__ import annotations

from importlib import import_module
from typing import Any

from soo_jax.threads import make_room_for_forced_devices

__version__ = "0.1.0"

_WHERE = {
    "soo_jax.overlap": (
        "DISTANCES Objective Term View Views cosine kl kl_batchmean linear_cka log_mse mse normalised_mse "
        "relative_mse smooth_l1 anchored between language_model overlap retain weighted"
    ),
    "soo_jax.models.probes": "Probe attn_out mlp_out residual logits",
    "soo_jax.models.lm": "LM",
    "soo_jax.models.generate": "Sampling generate",
    "soo_jax.adapters": "Lora LoraConfig Member Stack init_lora merge stack unstack",
    "soo_jax.parallel": "parse_mesh",
    "soo_jax.errors": "SooError SooWarning",
    "soo_jax.tasks.records": "Pair Scenario read_pairs write_pairs read_scenarios write_scenarios",
    "soo_jax.tasks.intent": "contradiction stated_intent",
    "soo_jax.tasks.pack": "TaskPack read_pack",
    "soo_jax.tasks.english": "english_scenarios honesty_prompt probe_pairs scene_pairs training_pairs",
    "soo_jax.tasks.organism": "organism_pairs organism_scenarios organism_scene_pairs",
    "soo_jax.llm.config": "FinetuneConfig PRESETS preset",
    "soo_jax.llm.finetune": "finetune",
    "soo_jax.llm.evaluate": "EvalConfig evaluate",
    "soo_jax.llm.latent": "latent_overlap",
    "soo_jax.llm.organisms": "load",
    "soo_jax.llm.folders": "convert load_adapter load_adapters merge_folder save_adapter save_adapters",
    "soo_jax.report.html": "write_report",
    "soo_jax.runs": "read_run",
}
_NAMES = {name: module for module, names in _WHERE.items() for name in names.split()}
__all__ = sorted(["__version__", *_NAMES])


make_room_for_forced_devices()


def __getattr__(name: str) -> Any:
    if name not in _NAMES:
        raise AttributeError(f"module 'soo_jax' has no attribute {name!r}")
    return getattr(import_module(_NAMES[name]), name)


def __dir__() -> list[str]:
    return __all__
