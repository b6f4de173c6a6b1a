"""Every field of PEFT's ``adapter_config.json`` (PEFT 0.21), and what reading it here does.

A field is handled, or it is harmless whatever it says, or it does nothing under the values listed here and is refused
by name under any other. A field that is not in the table, as a later PEFT may write it, is refused unless it says
"nothing" (null, false or empty).
"""

from __future__ import annotations

import re
from collections.abc import Mapping
from pathlib import Path
from typing import Any

from soo_jax.errors import SooError

HANDLED: Mapping[str, str] = {
    "peft_type": "only LORA is read",
    "r": "the rank",
    "lora_alpha": "the scale; PEFT's default is 8",
    "lora_dropout": "acts in training only; PEFT's default is 0",
    "use_rslora": "divides by the square root of the rank",
    "target_modules": "names or a regex: must describe the tensors in the file",
    "exclude_modules": "names or a regex: must describe the tensors in the file",
    "layers_to_transform": "must describe the tensors in the file",
    "layers_pattern": "must describe the tensors in the file",
    "init_lora_weights": "only initialisations that leave the base as it is",
}
HARMLESS: Mapping[str, str] = {
    "task_type": "chooses PEFT's wrapper class, not the mathematics",
    "auto_mapping": "names the class of the base model",
    "peft_version": "says who wrote the file",
    "base_model_name_or_path": "a name; the weights are told by their fingerprint",
    "revision": "of the base on the Hub",
    "inference_mode": "whether PEFT freezes the factors",
    "megatron_core": "a module's name, used only with megatron_config",
    "loftq_config": "used only by the initialisation loftq, which is refused",
    "eva_config": "used only while the factors are initialised",
    "corda_config": "used only by the initialisation corda, which is refused",
    "lora_ga_config": "used only by the initialisation lora_ga, which is refused",
    "qalora_group_size": "used only with use_qalora, which is refused",
    "runtime_config": "PEFT passes over it when it reads a file",
}
_NOTHING = (None, False)
PLAIN: Mapping[str, tuple[tuple[Any, ...], str]] = {
    "fan_in_fan_out": (_NOTHING, "the factors would be stored the other way round"),
    "bias": ((None, "none"), "biases of the base were trained, too"),
    "modules_to_save": ((None, []), "whole modules of the base were trained, too"),
    "rank_pattern": ((None, {}), "ranks differ between modules"),
    "alpha_pattern": ((None, {}), "scales differ between modules"),
    "megatron_config": ((None, {}), "modules are split over devices by Megatron"),
    "trainable_token_indices": ((None, [], {}), "rows of the embedding were trained, too"),
    "use_dora": (_NOTHING, "DoRA rescales the columns of the weights"),
    "velora_config": ((None, {}), "VeLoRA compresses activations"),
    "alora_invocation_tokens": ((None, []), "the adapter acts from certain tokens on"),
    "use_qalora": (_NOTHING, "inputs are pooled in groups"),
    "monteclora_config": ((None, {}), "the factors are drawn at random"),
    "layer_replication": ((None, []), "layers are repeated"),
    "lora_bias": (_NOTHING, "factor B has a bias"),
    "target_parameters": ((None, []), "bare parameters are adapted"),
    "use_bdlora": (_NOTHING, "the factors are block-diagonal"),
    "arrow_config": ((None, {}), "several adapters are routed between"),
    "kasa_config": ((None, {}), "singular values of the base are dropped"),
    "ensure_weight_tying": (_NOTHING, "adapters of tied modules are shared"),
}
# Initialisations under which the base stays what it was. The others (PiSSA, OLoRA, CorDA, LoftQ, LoRA-GA) take the
# factors out of the base, so that B A belongs to another base than the one on disk.
_KEEPS_BASE = (None, True, False, "gaussian", "eva", "orthogonal", "mica")
_ZERO_AT_FIRST = (None, True, "gaussian", "eva", "mica")
"""Initialisations after which an adapter does nothing yet."""
DEFAULT_TARGETS = ("q_proj", "v_proj")
"""What PEFT adapts in the families read here where ``target_modules`` is null."""


def check_fields(path: Path, raw: Mapping[str, Any]) -> None:
    """Raises SooError for the first field whose value is not known to be harmless, by name and with the reason."""
    if raw.get("peft_type") != "LORA":
        raise SooError(f"{path}: peft_type {raw.get('peft_type')!r} is not supported; only LORA is")
    for name, value in raw.items():
        if name in PLAIN and value not in PLAIN[name][0]:
            raise SooError(
                f"{path}: {name} = {_shown(value)} is not supported ({PLAIN[name][1]}); only plain LoRA is read"
            )
        if name not in {*HANDLED, *HARMLESS, *PLAIN} and value not in (None, False, "", [], {}):
            raise SooError(
                f"{path}: {name} = {_shown(value)} is not known here; only plain LoRA as PEFT 0.21 writes it is read"
            )
    start = raw.get("init_lora_weights", True)
    start = start.lower() if isinstance(start, str) else start
    if start not in _KEEPS_BASE:
        raise SooError(
            f"{path}: init_lora_weights = {_shown(raw['init_lora_weights'])} is not supported: PEFT changes the base "
            f"model's weights when it loads such an adapter; save it as plain LoRA with PEFT's "
            f"save_pretrained(..., path_initial_model_for_weight_conversion=...)"
        )


def zero_at_first(raw: Mapping[str, Any]) -> bool:
    """Whether a module that the file leaves out does nothing in PEFT."""
    return raw.get("init_lora_weights", True) in _ZERO_AT_FIRST


def whole_number(path: Path, raw: Mapping[str, Any], name: str, default: int) -> int:
    """A positive whole number, or PEFT's default where the file has no such field."""
    value = raw.get(name, default)
    if not isinstance(value, int) or isinstance(value, bool) or value < 1:
        raise SooError(f"{path}: {name} must be a positive whole number, found {_shown(value)}")
    return value


def number(path: Path, raw: Mapping[str, Any], name: str, default: float) -> float:
    """A finite number, or PEFT's default where the file has no such field."""
    value = raw.get(name, default)
    if not isinstance(value, int | float) or isinstance(value, bool) or not abs(value) < float("inf"):
        raise SooError(f"{path}: {name} must be a finite number, found {_shown(value)}")
    return float(value)


def flag(path: Path, raw: Mapping[str, Any], name: str) -> bool:
    """True or false; false where the file has no such field, or null."""
    value = raw.get(name, False)
    if value is not None and not isinstance(value, bool):
        raise SooError(f"{path}: {name} must be true or false, found {_shown(value)}")
    return bool(value)


def adapted(path: Path, raw: Mapping[str, Any], module: str) -> bool:
    """Whether PEFT adapts a module (``model.layers.3.self_attn.q_proj``) under these settings.

    Raises:
      SooError: a setting of another kind, or a regex that is none.
    """
    excluded = raw.get("exclude_modules")
    if excluded and _named(path, "exclude_modules", excluded, module):
        return False
    targets = raw.get("target_modules")
    if targets == "all-linear":
        return True
    if not _named(path, "target_modules", DEFAULT_TARGETS if targets is None else targets, module):
        return False
    layers = raw.get("layers_to_transform")
    exact = not isinstance(targets, str) and targets is not None and module in targets
    if layers is None or layers == [] or isinstance(targets, str) or exact:
        return True
    layers = [layers] if isinstance(layers, int) else layers
    if not isinstance(layers, list) or not all(isinstance(i, int) and not isinstance(i, bool) for i in layers):
        raise SooError(f"{path}: layers_to_transform must be whole numbers, found {_shown(layers)}")
    patterns = raw.get("layers_pattern") or [r"[^.]*"]
    for pattern in [patterns] if isinstance(patterns, str) else patterns:
        found = _match(path, "layers_pattern", rf"(?:^|.*?\.){pattern}\.(?P<layer>\d+)\..*", module)
        if found:
            return int(found["layer"]) in layers
    return False


def _named(path: Path, field: str, names: Any, module: str) -> bool:
    if isinstance(names, str):
        return bool(_match(path, field, names, module))
    if not isinstance(names, list | tuple) or not all(isinstance(name, str) for name in names):
        raise SooError(f"{path}: {field} must be a text or a list of texts, found {_shown(names)}")
    return any(module == name or module.endswith(f".{name}") for name in names)


def _match(path: Path, field: str, pattern: str, module: str) -> re.Match | None:
    try:
        return re.fullmatch(pattern, module)
    except re.error as error:
        raise SooError(f"{path}: {field} {pattern!r} is no regular expression ({error})") from error


def _shown(value: Any) -> str:
    text = repr(value)
    return text if len(text) < 80 else text[:77] + "..."
