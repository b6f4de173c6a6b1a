"""PEFT adapter folders (``adapter_config.json``, ``adapter_model.safetensors``), in and out.

The folders written here load in PEFT, vLLM and lm-evaluation-harness; those written by PEFT load here if they are
plain LoRA.
"""

from __future__ import annotations

import json
import re
from pathlib import Path
from typing import Any

import jax.numpy as jnp
import numpy as np
from safetensors import SafetensorError
from safetensors.numpy import load_file, save_file

from soo_jax.adapters.lora import Lora, LoraConfig, is_stacked, projection_shape
from soo_jax.errors import SooError
from soo_jax.files import disk_error
from soo_jax.models.config import DecoderConfig, read_json
from soo_jax.models.layers import PROJECTIONS

CONFIG, WEIGHTS, BASE = "adapter_config.json", "adapter_model.safetensors", "soo_base.json"
_NAME = re.compile(
    r"^base_model\.model\.model\.layers\.(\d+)\.(?:self_attn|mlp)\.(\w+)\.lora_([AB])(?:\.default)?\.weight$"
)
_MLP = ("gate_proj", "up_proj", "down_proj")
# Settings of PEFT that change the mathematics, with the value under which they do nothing.
_PLAIN = {
    "use_dora": (False, None),
    "modules_to_save": (None, []),
    "bias": ("none", None),
    "rank_pattern": ({}, None),
    "alpha_pattern": ({}, None),
    "fan_in_fan_out": (False, None),
    "lora_bias": (False, None),
    "use_qalora": (False, None),
    "alora_invocation_tokens": (None,),
    "trainable_token_indices": (None,),
    "layer_replication": (None,),
    "target_parameters": (None, []),
    "arrow_config": (None,),
    "exclude_modules": (None, []),
}


def save_peft(folder: str | Path, lora: Lora, base_name: str, fingerprint: str | None = None) -> None:
    """Writes one adapter as a PEFT folder (float32).

    Args:
      base_name: recorded as ``base_model_name_or_path``.
      fingerprint: identifies the base weights; :func:`load_peft` then refuses another base.

    Raises:
      SooError: the disk refuses.
    """
    if is_stacked(lora):
        raise ValueError("save the adapters of a stack one by one")
    folder = Path(folder)
    config = lora.config
    tensors = {}
    for target in config.targets:
        a, b = np.asarray(lora.a[target], np.float32), np.asarray(lora.b[target], np.float32)
        for row, layer in enumerate(config.layers or range(a.shape[0])):
            stem = f"base_model.model.model.layers.{layer}.{'mlp' if target in _MLP else 'self_attn'}.{target}"
            tensors[f"{stem}.lora_A.weight"] = np.ascontiguousarray(a[row].T)
            tensors[f"{stem}.lora_B.weight"] = np.ascontiguousarray(b[row].T)
    fields: dict[str, Any] = {
        "peft_type": "LORA",
        "task_type": "CAUSAL_LM",
        "base_model_name_or_path": base_name,
        "r": config.rank,
        "lora_alpha": config.alpha,
        "lora_dropout": config.dropout,
        "use_rslora": config.rslora,
        "target_modules": list(config.targets),
        "layers_to_transform": None if config.layers is None else list(config.layers),
        "layers_pattern": None if config.layers is None else "layers",
        "bias": "none",
        "fan_in_fan_out": False,
        "inference_mode": True,
        "init_lora_weights": True,
        "modules_to_save": None,
    }
    try:
        folder.mkdir(parents=True, exist_ok=True)
        save_file(tensors, folder / WEIGHTS, metadata={"format": "pt"})
        (folder / CONFIG).write_text(json.dumps(fields, indent=2, sort_keys=True) + "\n", encoding="utf-8")
        if fingerprint is not None:
            (folder / BASE).write_text(json.dumps({"fingerprint": fingerprint}) + "\n", encoding="utf-8")
    except (OSError, SafetensorError) as error:
        raise disk_error(folder, error) from error


def load_peft(folder: str | Path, config: DecoderConfig, fingerprint: str | None = None) -> Lora:
    """Reads a plain LoRA folder for a model of ``config``; factors in float32.

    Raises:
      SooError: a missing or truncated file, a kind of adapter other than plain LoRA, unknown targets, layers or
        shapes that this base does not have, or an adapter that was made for other base weights.
    """
    folder = Path(folder)
    raw = read_json(folder / CONFIG) if (folder / CONFIG).is_file() else _no_adapter(folder)
    _check_plain(folder, raw)
    if fingerprint is not None and (folder / BASE).is_file():
        made_for = read_json(folder / BASE).get("fingerprint")
        if made_for != fingerprint:
            raise SooError(
                f"{folder}: this adapter was trained on other base weights "
                f"({raw.get('base_model_name_or_path')}); load it with that model"
            )
    factors = _read_factors(folder)
    targets = tuple(name for name in PROJECTIONS if any(target == name for target, _, _ in factors))
    layers = sorted({layer for _, layer, _ in factors})
    rank = raw.get("r")
    if not isinstance(rank, int) or rank < 1:
        raise SooError(f"{folder / CONFIG}: r must be a positive whole number, found {rank!r}")
    if layers[-1] >= config.num_layers:
        raise SooError(
            f"{folder}: adapts layer {layers[-1]}, but the model has layers 0 to {config.num_layers - 1}; "
            f"it was made for another base"
        )
    lora = LoraConfig(
        rank=rank,
        alpha=float(raw.get("lora_alpha", rank)),
        dropout=float(raw.get("lora_dropout", 0.0)),
        targets=targets,
        layers=None if layers == list(range(config.num_layers)) else tuple(layers),
        rslora=bool(raw.get("use_rslora", False)),
    )
    sides: dict[str, dict[str, Any]] = {"A": {}, "B": {}}
    for target in targets:
        wide, out = projection_shape(config, target)
        for side, shape in (("A", (rank, wide)), ("B", (out, rank))):
            rows = []
            for layer in layers:
                value = factors.get((target, layer, side))
                if value is None:
                    raise SooError(f"{folder / WEIGHTS}: lora_{side} of {target} in layer {layer} is missing")
                if value.shape != shape:
                    raise SooError(
                        f"{folder / WEIGHTS}: lora_{side} of {target} in layer {layer} has shape {value.shape}, "
                        f"this model needs {shape}; it was made for another base"
                    )
                rows.append(value.T.astype(np.float32))
            sides[side][target] = jnp.asarray(np.stack(rows))
    return Lora(sides["A"], sides["B"], lora)


def _no_adapter(folder: Path) -> dict[str, Any]:
    raise SooError(f"{folder}: no {CONFIG}; an adapter is a PEFT folder with {CONFIG} and {WEIGHTS}")


def _check_plain(folder: Path, raw: dict[str, Any]) -> None:
    if raw.get("peft_type") != "LORA":
        raise SooError(f"{folder / CONFIG}: peft_type {raw.get('peft_type')!r} is not supported; only LORA is")
    for key, neutral in _PLAIN.items():
        if key in raw and raw[key] not in neutral:
            raise SooError(f"{folder / CONFIG}: {key} = {raw[key]!r} is not supported; only plain LoRA is")


def _read_factors(folder: Path) -> dict[tuple[str, int, str], np.ndarray]:
    path = folder / WEIGHTS
    if not path.is_file():
        if (folder / "adapter_model.bin").is_file():
            raise SooError(f"{folder}: adapter_model.bin is pickled and never loaded; save it as {WEIGHTS} with PEFT")
        raise SooError(f"{path}: no such file")
    try:
        tensors = load_file(path)
    except (SafetensorError, OSError) as error:
        raise SooError(f"{path}: truncated or not safetensors ({error}); copy the file again") from error
    factors = {}
    for name, value in tensors.items():
        match = _NAME.match(name)
        if not match or match[2] not in PROJECTIONS:
            raise SooError(f"{path}: {name} is no LoRA factor of {', '.join(PROJECTIONS)}")
        factors[match[2], int(match[1]), match[3]] = value
    if not factors:
        raise SooError(f"{path}: holds no tensors")
    return factors
