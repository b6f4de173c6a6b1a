"""PEFT adapter folders (``adapter_config.json``, ``adapter_model.safetensors``), in and out.

The folders written here load in PEFT, vLLM and lm-evaluation-harness; those written by PEFT load here if they are
plain LoRA.
"""

from __future__ import annotations

import json
import re
import warnings
from pathlib import Path
from typing import Any, NamedTuple

import jax.numpy as jnp
import numpy as np
from safetensors import SafetensorError
from safetensors.numpy import load_file, save_file

from soo_jax.adapters import peft_fields
from soo_jax.adapters.fused import Factors, fuse, module_in_file, split
from soo_jax.adapters.lora import Lora, LoraConfig, is_stacked
from soo_jax.adapters.members import Member, read_member
from soo_jax.distributed import whole
from soo_jax.errors import SooError, SooWarning
from soo_jax.files import disk_error, read_json
from soo_jax.models.architectures.family import module_of
from soo_jax.models.config import PROJECTIONS, DecoderConfig

CONFIG, WEIGHTS, OURS = "adapter_config.json", "adapter_model.safetensors", "soo_adapter.json"
SCHEMA = "soo-adapter/1"
_OLDER = "soo_base.json"  # what the first version wrote: a fingerprint of the base's files
_NAME = re.compile(r"^base_model\.model\.model\.layers\.(\d+)\.(\w+\.\w+)\.lora_([AB])(?:\.default)?\.weight$")


class Loaded(NamedTuple):
    """An adapter that was read, and what is known of its training (nothing, if something else made it)."""

    lora: Lora
    member: Member


def save_peft(
    folder: str | Path,
    lora: Lora,
    base_name: str,
    fingerprint: str | None = None,
    member: Member | None = None,
    frozen_at: int | None = None,
    model: DecoderConfig | None = None,
) -> None:
    """Writes one adapter as a PEFT folder (float32).

    Args:
      base_name: recorded as ``base_model_name_or_path``.
      fingerprint: identifies the base weights; :func:`load_peft` then refuses another base.
      member: what it was trained with, kept in a file of our own that PEFT passes over.
      frozen_at: the update at which its training stopped because a number was not finite.
      model: the base's config; needed where the family's files hold several projections in one matrix (Phi-3).

    Raises:
      SooError: the disk refuses.
    """
    if is_stacked(lora):
        raise ValueError("save the adapters of a stack one by one")
    folder = Path(folder)
    factors: Factors = {}
    for target in lora.config.targets:
        a, b = (whole(side[target]).astype(np.float32) for side in (lora.a, lora.b))
        for row, layer in enumerate(lora.config.layers_of(target) or range(a.shape[0])):
            factors[module_of(target), layer, "A"] = np.ascontiguousarray(a[row].T)
            factors[module_of(target), layer, "B"] = np.ascontiguousarray(b[row].T)
    factors, config = fuse(factors, lora.config, model)
    tensors = {f"base_model.model.model.layers.{layer}.{module}.lora_{side}.weight": value
               for (module, layer, side), value in factors.items()}  # fmt: skip
    in_file = lambda target: module_in_file(target, model)
    targets = list(dict.fromkeys(in_file(target).rpartition(".")[2] for target in config.targets))
    if config.layers_by_target is not None:
        each = ((layer, target) for target, layers in config.layers_by_target for layer in layers)
        targets = list(dict.fromkeys(f"model.layers.{layer}.{in_file(target)}" for layer, target in each))
    fields: dict[str, Any] = {
        "peft_type": "LORA",
        "task_type": "CAUSAL_LM",
        "base_model_name_or_path": base_name,
        "r": config.rank,
        "lora_alpha": config.alpha,
        "lora_dropout": config.dropout,
        "use_rslora": config.rslora,
        "target_modules": targets,
        "layers_to_transform": None if config.layers is None else list(config.layers),
        "layers_pattern": None if config.layers is None else "layers",
        "bias": "none",
        "fan_in_fan_out": False,
        "inference_mode": True,
        "init_lora_weights": True,
        "modules_to_save": None,
    }
    ours: dict[str, Any] = {"schema": SCHEMA}
    if fingerprint is not None:
        ours["base"] = {"name": base_name, "fingerprint": fingerprint}
    if member is not None:
        ours["member"] = member.as_dict()
    if frozen_at is not None:
        reason = "loss or gradient not finite; this is the state before"
        ours["frozen"] = {"update": frozen_at, "reason": reason}
    try:
        folder.mkdir(parents=True, exist_ok=True)
        save_file(tensors, folder / WEIGHTS, metadata={"format": "pt"})
        for name, values in ((CONFIG, fields), (OURS, ours)):
            (folder / name).write_text(json.dumps(values, indent=2, sort_keys=name == CONFIG) + "\n", encoding="utf-8")
    except (OSError, SafetensorError) as error:
        raise disk_error(folder, error) from error


def load_peft(folder: str | Path, config: DecoderConfig, fingerprint: str | None = None) -> Loaded:
    """Reads a plain LoRA folder for a model of ``config``; factors in float32.

    Raises:
      SooError: a missing or truncated file, a setting that plain LoRA does not have (by name, with the reason),
        tensors that the settings do not describe or that this base has no place for, or an adapter that was made for
        other base weights.
    """
    folder = Path(folder)
    path = folder / CONFIG
    if not path.is_file():
        raise SooError(f"{folder}: no {CONFIG}; an adapter is a PEFT folder with {CONFIG} and {WEIGHTS}")
    raw = read_json(path)
    peft_fields.check_fields(path, raw)
    member = _ours(folder, raw, fingerprint)
    rank = peft_fields.whole_number(path, raw, "r", 8)
    alpha = peft_fields.number(path, raw, "lora_alpha", 8)
    dropout = peft_fields.number(path, raw, "lora_dropout", 0.0)
    rslora = peft_fields.flag(path, raw, "use_rslora")
    factors = {(module.rpartition(".")[2], layer, side): value
               for (module, layer, side), value in split(_read_factors(folder, config), config).items()}  # fmt: skip
    _check_modules(folder, raw, config, {key[:2] for key in factors})
    targets = [name for name in PROJECTIONS if any(target == name for target, _, _ in factors)]
    layers = {name: sorted({layer for target, layer, _ in factors if target == name}) for name in targets}
    everywhere = all(own == list(range(config.num_layers)) for own in layers.values())
    try:
        lora = LoraConfig(
            rank=rank,
            alpha=alpha,
            dropout=dropout,
            targets=tuple(targets),
            rslora=rslora,
            layers_by_target=None if everywhere else tuple((name, tuple(own)) for name, own in layers.items()),
        )
    except SooError as error:
        raise SooError(f"{path}: {error}") from error
    sides: dict[str, dict[str, Any]] = {"A": {}, "B": {}}
    for target in targets:
        wide, out = config.projection_shape(target)
        for side, shape in (("A", (rank, wide)), ("B", (out, rank))):
            rows = []
            for layer in layers[target]:
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
    return Loaded(Lora(sides["A"], sides["B"], lora), member)


def _ours(folder: Path, raw: dict[str, Any], fingerprint: str | None) -> Member:
    """What our own file in an adapter's folder says of base and training; nothing where there is none."""
    path = folder / OURS
    if not path.is_file():
        if (folder / _OLDER).is_file():
            warnings.warn(
                f"{folder}: was written by an early version; whether it fits this base model cannot be checked",
                SooWarning,
                stacklevel=2,
            )
        return Member()
    ours = read_json(path)
    base = ours.get("base", {})
    if not str(ours.get("schema")).startswith("soo-adapter/") or not isinstance(base, dict):
        raise SooError(f"{path}: was not written by soo-jax; remove it to read the adapter without checks")
    if fingerprint is not None and base.get("fingerprint", fingerprint) != fingerprint:
        raise SooError(
            f"{folder}: this adapter was trained on other base weights "
            f"({raw.get('base_model_name_or_path')}); load it with that model"
        )
    return read_member(ours, path)


def _check_modules(folder: Path, raw: dict[str, Any], config: DecoderConfig, found: set[tuple[str, int]]) -> None:
    """Raises SooError where the settings describe other modules than the file holds: PEFT would pass over some."""
    deepest = max(layer for _, layer in found)
    if deepest >= config.num_layers:
        raise SooError(
            f"{folder}: adapts layer {deepest}, but the model has layers 0 to {config.num_layers - 1}; "
            f"it was made for another base"
        )
    described = {
        (target, layer)
        for target in PROJECTIONS
        for layer in range(config.num_layers)
        if peft_fields.adapted(folder / CONFIG, raw, f"model.layers.{layer}.{module_in_file(target, config)}")
    }
    for target, layer in sorted(found - described):
        raise SooError(
            f"{folder}: {WEIGHTS} adapts {target} in layer {layer}, which target_modules and its companions in "
            f"{CONFIG} do not name; PEFT would leave it out. Copy both files again"
        )
    if not peft_fields.zero_at_first(raw):
        for target, layer in sorted(described - found):
            raise SooError(f"{folder}: {CONFIG} adapts {target} in layer {layer}, but {WEIGHTS} has no factors of it")


def _read_factors(folder: Path, config: DecoderConfig) -> Factors:
    """The factors by the modules that the file names; those of this family's files are known, and no others."""
    path = folder / WEIGHTS
    if not path.is_file():
        if (folder / "adapter_model.bin").is_file():
            raise SooError(f"{folder}: adapter_model.bin is pickled and never loaded; save it as {WEIGHTS} with PEFT")
        raise SooError(f"{path}: no such file")
    try:
        tensors = load_file(path)
    except (SafetensorError, OSError) as error:
        raise SooError(f"{path}: truncated or not safetensors ({error}); copy the file again") from error
    factors: Factors = {}
    known = tuple(dict.fromkeys(module_in_file(target, config) for target in PROJECTIONS))
    for name, value in tensors.items():
        match = _NAME.match(name)
        if not match or match[2] not in known:
            raise SooError(f"{path}: {name} is no LoRA factor of {', '.join(one.rpartition('.')[2] for one in known)}")
        factors[match[2], int(match[1]), match[3]] = value
    if not factors:
        raise SooError(f"{path}: holds no tensors")
    return factors
