"""Folders that other programs load: adapters in and out, and merged models."""

from __future__ import annotations

import json
import shutil
from pathlib import Path

import numpy as np
from safetensors import SafetensorError

from soo_jax.adapters import Lora, is_stacked, load_peft, merge, save_peft, unstack
from soo_jax.errors import SooError
from soo_jax.files import disk_error
from soo_jax.models.hf import INDEX, SINGLE, save_weights
from soo_jax.models.lm import LM

_WEIGHTS = (".safetensors", ".bin", ".pt", ".pth", ".gguf")


def save_adapter(folder: str | Path, lm: LM, adapters: Lora, seed: int = 0) -> None:
    """Writes one adapter as a PEFT folder; of a stack, the one at index ``seed``."""
    one = unstack(adapters)[seed] if is_stacked(adapters) else adapters
    save_peft(folder, one, lm.name, lm.fingerprint)


def load_adapter(lm: LM, folder: str | Path) -> Lora:
    """Reads a PEFT folder for this model. Raises SooError if it was made for another one."""
    return load_peft(folder, lm.config, lm.fingerprint)


def merge_folder(lm: LM, adapter: Lora, out: str | Path, force: bool = False) -> Path:
    """Writes the model with the adapter added in, as a Hugging Face folder that transformers loads.

    Everything that describes the model (config, tokenizer, generation settings) is copied from the base folder;
    weights keep the dtype in which the model was loaded. The folder appears whole or not at all.

    Raises:
      SooError: ``out`` exists (unless ``force`` and it is a model folder), or the disk refuses.
    """
    out = Path(out)
    check_merge_out(out, lm.folder, force)
    part = out.with_name(f".{out.name}.part")
    try:
        shutil.rmtree(part, ignore_errors=True)
        part.mkdir(parents=True)
        for path in sorted(lm.folder.iterdir()):
            if path.is_file() and path.suffix not in _WEIGHTS and path.name != INDEX:
                shutil.copyfile(path, part / path.name)
        save_weights(part, lm.config, merge(lm.params, adapter))
        _set_dtype(part / "config.json", str(np.dtype(lm.params["embedding"]["embedding"].dtype)))
        if out.exists():
            shutil.rmtree(out)
        part.rename(out)
    except (OSError, SafetensorError) as error:
        shutil.rmtree(part, ignore_errors=True)
        raise disk_error(out, error) from error
    except BaseException:
        shutil.rmtree(part, ignore_errors=True)
        raise
    return out


def check_merge_out(out: Path, base: Path, force: bool = False) -> None:
    """Raises SooError if a merged model may not be written to ``out``: it holds something, or it is the base itself."""
    if out.resolve() == base.resolve():
        raise SooError(f"{out}: is the base model's own folder; choose another one")
    if out.exists() and not out.is_dir():
        raise SooError(f"{out}: is a file where a folder is needed; choose another name")
    replaceable = (out / "config.json").is_file() and ((out / SINGLE).is_file() or (out / INDEX).is_file())
    if out.exists() and any(out.iterdir()) and not (force and replaceable):
        cure = (
            "it is no model folder; choose another one" if force else "choose another one, or replace it with --force"
        )
        raise SooError(f"{out}: the folder is not empty; {cure}")


def _set_dtype(path: Path, dtype: str) -> None:
    """Says in ``config.json`` what the weights are stored as, under the name that the file uses."""
    raw = json.loads(path.read_text(encoding="utf-8"))
    key = "dtype" if "dtype" in raw else "torch_dtype"
    raw[key] = dtype
    path.write_text(json.dumps(raw, indent=2) + "\n", encoding="utf-8")
