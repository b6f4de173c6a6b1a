"""The supported families of models, one file each. ``register`` adds one of your own."""

from __future__ import annotations

import importlib
import pkgutil
from collections.abc import Mapping
from pathlib import Path
from typing import Any

from soo_jax.errors import SooError
from soo_jax.files import read_json
from soo_jax.models.architectures.family import ACTIVATIONS, Architecture, Settings
from soo_jax.models.config import DecoderConfig

__all__ = [
    "ARCHITECTURES",
    "Architecture",
    "Settings",
    "architecture",
    "config_from_hf",
    "hf_config",
    "read_config",
    "register",
]

ARCHITECTURES: dict[str, Architecture] = {}
"""The families by name."""

A_MODEL = "a model is a Hugging Face folder with config.json and *.safetensors"


def register(family: Architecture) -> Architecture:
    """Makes a family known; its folders are then read like any other's. Returns it."""
    ARCHITECTURES[family.name] = family
    return family


def found() -> list[Architecture]:
    """The families of the files in this folder, in the order of their names."""
    modules = (importlib.import_module(f"{__name__}.{one.name}") for one in pkgutil.iter_modules(__path__))
    own = [value for module in modules for value in vars(module).values() if isinstance(value, Architecture)]
    return list({family.name: family for family in own}.values())


for _family in found():
    register(_family)


def architecture(name: str) -> Architecture:
    """The family of that name. Raises SooError for an unknown one."""
    if name not in ARCHITECTURES:
        raise SooError(f"architecture {name} is not supported; supported: {', '.join(ARCHITECTURES)}")
    return ARCHITECTURES[name]


def read_config(folder: str | Path) -> DecoderConfig:
    """Reads ``config.json`` of a Hugging Face folder, in the Hub's dialect or in that of transformers 5.

    Raises:
      SooError: no such file, no JSON, an unsupported architecture, a missing or impossible setting.
    """
    path = Path(folder) / "config.json"
    return config_from_hf(read_json(path, A_MODEL), where=str(path))


def config_from_hf(raw: Mapping[str, Any], where: str = "config.json") -> DecoderConfig:
    """Turns the fields of a Hugging Face config into a :class:`DecoderConfig`. Raises SooError as `read_config`."""
    family = _family_of(raw, where)
    try:
        return family.config(raw, where)
    except (KeyError, TypeError, ValueError, AttributeError) as error:
        said = f"{error} is missing" if isinstance(error, KeyError) else str(error)
        raise SooError(f"{where}: a setting is missing or of the wrong kind ({said}); copy the file again") from error


def hf_config(config: DecoderConfig, dtype: str = "float32") -> dict[str, Any]:
    """A ``config.json`` for parameters that were made here (a trained organism, a random test model).

    Raises:
      SooError: the family's config can only be copied.
    """
    family = architecture(config.architecture)
    if family.write is None:
        can = ", ".join(name for name, one in ARCHITECTURES.items() if one.write)
        raise SooError(
            f"config: writing a fresh config.json is supported for {can}, not {family.name}; copy the base model's"
        )
    if config.rope.kind != "default":
        raise SooError("config: writing a fresh config.json is supported for rotary positions without scaling")
    return {
        "architectures": [family.hf_class],
        "model_type": family.name,
        "vocab_size": config.vocab_size,
        "hidden_size": config.width,
        "intermediate_size": config.mlp_width,
        "num_hidden_layers": config.num_layers,
        "num_attention_heads": config.num_heads,
        "num_key_value_heads": config.num_kv_heads,
        "head_dim": config.head_dim,
        "max_position_embeddings": config.max_positions,
        "rms_norm_eps": config.norm_eps,
        "rope_theta": config.rope.theta,
        "tie_word_embeddings": config.tie_embeddings,
        "hidden_act": next(theirs for theirs, ours in ACTIVATIONS.items() if ours == config.activation),
        "torch_dtype": dtype,
        **family.write(config),
    }


def _family_of(raw: Mapping[str, Any], where: str) -> Architecture:
    classes = {family.hf_class: family for family in ARCHITECTURES.values()}
    names = raw.get("architectures") or []
    for name in names if isinstance(names, list) else [names]:
        if name in classes:
            return classes[name]
    if not names and raw.get("model_type") in ARCHITECTURES:
        return ARCHITECTURES[raw["model_type"]]
    found = ", ".join(map(str, names)) or repr(raw.get("model_type"))
    raise SooError(f"{where}: architecture {found} is not supported; supported: {', '.join(classes)}")
