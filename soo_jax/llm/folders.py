"""Folders that other programs load: adapters in and out, and merged models."""

from __future__ import annotations

import json
import shutil
from collections.abc import Iterator, Sequence
from contextlib import contextmanager
from pathlib import Path
from typing import Any

import numpy as np
from safetensors import SafetensorError

from soo_jax.adapters import Lora, Stack, is_stacked, load_peft, merge, save_peft
from soo_jax.adapters.members import apart, folder_names
from soo_jax.errors import SooError
from soo_jax.files import disk_error, part_name
from soo_jax.llm.organisms import load
from soo_jax.models import weights
from soo_jax.models.decoder import Params
from soo_jax.models.formats import INDEX, SINGLE
from soo_jax.models.formats.quantised import RECORD, record_folder
from soo_jax.models.gguf import GgufModel
from soo_jax.models.lm import LM
from soo_jax.models.loading import parse_dtype, save_weights

TEMPLATES = "additional_chat_templates"
"""The folder in which tokenizers keep their named chat templates."""
_WEIGHTS = (".safetensors", ".bin", ".pt", ".pth", ".gguf")


def save_adapter(folder: str | Path, lm: LM, adapters: Stack | Lora, seed: int | None = None, **settings: Any) -> None:
    """Writes one adapter as a PEFT folder.

    Args:
      seed, settings: which one of a stack (``seed=276``, ``learning_rate=1e-3``); they may be left out as far as one
        is left to choose.

    Raises:
      SooError: no adapter of the stack has these settings, or several have.
    """
    if isinstance(adapters, Lora) and not is_stacked(adapters):
        save_peft(folder, adapters, lm.name, lm.fingerprint, model=lm.config)
        return
    asked = settings if seed is None else {"seed": seed, **settings}
    several = Stack.of(adapters)
    member, one = several.one(**asked)
    frozen = several.frozen_at[several.members.index(member)]
    save_peft(folder, one, lm.name, lm.fingerprint, member, frozen, lm.config)


def load_adapter(lm: LM, folder: str | Path) -> Lora:
    """Reads a PEFT folder for this model. Raises SooError if it was made for another one."""
    return load_peft(folder, lm.config, lm.fingerprint).lora


def load_adapters(lm: LM, folders: Sequence[str | Path]) -> Stack:
    """Reads PEFT folders, or run folders with adapters in them, as one stack with what sets the adapters apart.

    Adapters of other ranks, targets or layers are brought to a common form. One that does not say what it was trained
    with (another program made it) gets the next free number for a seed; where two would then be the same, both are
    told by the folder that they came from.

    Raises:
      SooError: none given, or one that is no adapter for this model.
    """
    if not folders:
        raise SooError("adapter: none given")
    found: list[tuple[Path, str]] = []
    for folder in map(Path, folders):
        own = folder / "adapters"
        found += [(path, f"{folder.name}/{path.relative_to(own)}") for path in _innermost(own)] or [
            (folder, folder.name)
        ]
    paths = [path.resolve() for path, _ in found]
    twice = [path for path in paths if paths.count(path) > 1]
    if twice:
        raise SooError(f"adapter: {twice[0]} is given twice; name each adapter once")
    loaded = [load_peft(path, lm.config, lm.fingerprint) for path, _ in found]
    sources = [source for _, source in found]
    if len(set(sources)) != len(sources):
        sources = [str(path) for path, _ in found]
    members = apart([one.member for one in loaded], sources)
    return Stack.of([one.lora for one in loaded], members, lm.config)


def _innermost(folder: Path) -> list[Path]:
    """The folders in a folder, at any depth, that hold no others; a sweep keeps adapters by setting."""
    inner = sorted(folder.iterdir()) if folder.is_dir() else []
    inner = [path for path in inner if path.is_dir() and not path.name.startswith(".")]
    return [path for one in inner for path in _innermost(one) or [one]]


def merge_folder(lm: LM, adapter: Lora, out: str | Path, force: bool = False) -> Path:
    """Writes the model with the adapter added in, as a Hugging Face folder that transformers loads.

    Everything that describes the model (config, tokenizer, generation settings) is copied from the base folder;
    weights keep the dtype in which the model was loaded. The folder appears whole or not at all.

    Raises:
      SooError: ``out`` exists (unless ``force`` and it is a model folder), or the disk refuses.
    """
    out = Path(out)
    check_merge_out(out, lm.folder, force)
    return _write_folder(lm, merge(lm.params, adapter), out)


def convert(model: str | Path, out: str | Path, dtype: str | None = None, force: bool = False) -> Path:
    """Writes a model as a Hugging Face folder. The folder appears whole or not at all.

    A folder in ``nf4`` or ``int8`` is read by this library alone; any other one by transformers, too.

    Args:
      model: whatever :func:`soo_jax.load` takes.
      dtype: of the weights; by default float32 for a GGUF file, else as they are stored. What a scheme leaves wide is
        written as it is stored, unless its dtype is named (``nf4:float32``).

    Raises:
      SooError: whatever is wrong with the model, an unknown dtype, ``out`` exists (unless ``force`` and it is a model
        folder), or the disk refuses.
    """
    out = Path(out)
    check_merge_out(out, Path(model), force)
    if dtype is None:
        dtype = "float32" if str(model).endswith(".gguf") else "stored"
    scheme, wide = parse_dtype(dtype)
    if wide == "auto":
        wide = "stored"
    lm = load(model, f"{scheme}:{wide}" if scheme else wide)
    if scheme is None and (held := weights.scheme(lm.params)):
        raise SooError(f"{model}: holds its weights as {held}; take the wide model, what is lost does not come back")
    return _write_folder(lm, lm.params, out)


def _write_folder(lm: LM, params: Params, out: Path) -> Path:
    """A model folder with other parameters: all that describes the model comes from its own folder or file."""
    with _appearing(out) as part:
        _copy_description(lm.folder, part)
        save_weights(part, lm.config, params)
        dtype = str(np.dtype(params["embedding"]["embedding"].dtype))
        _describe_weights(part / "config.json", dtype, lm.config.tie_embeddings)
        if (scheme := weights.scheme(params)) is not None:
            record_folder(part, scheme, lm.fingerprint)
    return out


@contextmanager
def _appearing(out: Path) -> Iterator[Path]:
    """A folder to write into, which takes the place of ``out`` in the end, or is gone."""
    part, old = out.with_name(part_name(out.name)), out.with_name(f".{out.name}.old")
    try:
        if old.exists() and not out.exists():  # killed between the two renames below
            old.rename(out)
        for rest in (part, old):
            shutil.rmtree(rest, ignore_errors=True)
        part.mkdir(parents=True)
        yield part
        if out.exists():
            out.rename(old)
        part.rename(out)
        shutil.rmtree(old, ignore_errors=True)
    except (OSError, SafetensorError) as error:
        shutil.rmtree(part, ignore_errors=True)
        raise disk_error(out, error) from error
    except BaseException:
        shutil.rmtree(part, ignore_errors=True)
        raise


def _copy_description(base: Path, part: Path) -> None:
    """All of a model but its weights, from a folder or from a GGUF file."""
    if base.is_file():
        with GgufModel(base) as model:
            model.describe(part)
        return
    try:
        for path in sorted(base.iterdir()):
            if path.name == TEMPLATES:
                shutil.copytree(path, part / path.name)
            elif not path.is_dir() and path.suffix not in _WEIGHTS and path.name not in (INDEX, RECORD):
                shutil.copyfile(path, part / path.name)
    except FileNotFoundError as error:  # and not one file less in the copy
        raise SooError(f"{error.filename}: is gone while the model is copied; put it back and begin again") from error


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


def _describe_weights(path: Path, dtype: str, tied: bool) -> None:
    """Says in ``config.json`` what the weights are stored as, under the name that the file uses, and whether a head of
    their own is among them."""
    raw = json.loads(path.read_text(encoding="utf-8"))
    raw["dtype" if "dtype" in raw else "torch_dtype"] = dtype
    if raw.get("tie_word_embeddings") and not tied:
        raw["tie_word_embeddings"] = False
    path.write_text(json.dumps(raw, indent=2) + "\n", encoding="utf-8")


def save_adapters(folder: str | Path, lm: LM, adapters: Stack) -> list[Path]:
    """Writes each adapter of a stack as a PEFT folder ``seed-0``, ... (``seed-0-lr-0.001`` if rates differ).

    What a member is stands in ``soo_adapter.json`` inside; the folder's name is for people.
    """
    folders = []
    names = folder_names(adapters.members)
    for name, member, adapter, frozen in zip(names, adapters.members, adapters, adapters.frozen_at, strict=True):
        path = Path(folder) / name
        save_peft(path, adapter, lm.name, lm.fingerprint, member, frozen, lm.config)
        folders.append(path)
    return folders
