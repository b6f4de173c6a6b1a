"""Safetensors, single or sharded with an index. Nothing in a folder is ever unpickled or executed."""

from __future__ import annotations

import json
import warnings
from collections.abc import Collection, Iterable
from contextlib import ExitStack
from pathlib import Path
from types import TracebackType
from typing import Any

import numpy as np
from safetensors import SafetensorError, safe_open
from safetensors.numpy import save_file

from soo_jax.errors import SooError, SooWarning
from soo_jax.files import read_json

INDEX = "model.safetensors.index.json"
SINGLE = "model.safetensors"
_STORED = {"F32": "float32", "F16": "float16", "BF16": "bfloat16"}


class SafetensorsReader:
    """The tensors of all weight files of a folder; a :class:`~soo_jax.models.formats.reader.TensorReader`.

    Raises:
      SooError: no weight files, pickled ones, a truncated or foreign file, an index that names no files.
    """

    def __init__(self, folder: str | Path):
        self.folder = Path(folder)
        self._open: dict[str, Any] = {}
        self._file: dict[str, Path] = {}
        self._stack = ExitStack()
        for path in weight_files(self.folder):
            try:
                opened = self._stack.enter_context(safe_open(path, "numpy"))
            except (SafetensorError, OSError) as error:
                self._stack.close()
                raise SooError(f"{path}: truncated or not safetensors ({error}); copy the file again") from error
            for name in opened.keys():  # noqa: SIM118 - not a dict
                self._open[name], self._file[name] = opened, path

    def __enter__(self) -> SafetensorsReader:
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        self._stack.close()

    @property
    def names(self) -> Collection[str]:
        return self._open.keys()

    def shape(self, name: str) -> tuple[int, ...]:
        return tuple(self._open[name].get_slice(name).get_shape())

    def dtype(self, name: str) -> str:
        stored = self._open[name].get_slice(name).get_dtype()
        return _STORED.get(stored, stored)

    def file(self, name: str) -> Path:
        return self._file[name]

    def read(self, name: str, index: tuple[slice, ...] = ()) -> np.ndarray:
        return self._open[name].get_slice(name)[index] if index else self._open[name].get_tensor(name)


def weight_files(folder: Path) -> list[Path]:
    """The safetensors files of a model folder. A single file counts before an index, as in transformers."""
    if (folder / SINGLE).is_file():
        if (folder / INDEX).is_file():
            warnings.warn(
                f"{folder}: has both {SINGLE} and {INDEX}; the single file is read, as in transformers",
                SooWarning,
                stacklevel=2,
            )
        return [folder / SINGLE]
    if (folder / INDEX).is_file():
        return _shards(folder)
    pickles = sorted([*folder.glob("*.bin"), *folder.glob("*.pt"), *folder.glob("*.pth")])
    if pickles:
        raise SooError(
            f"{pickles[0]}: pickled weights are never loaded; convert them on a machine that trusts them with "
            f"AutoModelForCausalLM.from_pretrained(...).save_pretrained(...), which writes safetensors"
        )
    raise SooError(f"{folder}: no {SINGLE} and no {INDEX}; a model folder holds its weights as safetensors")


def _shards(folder: Path) -> list[Path]:
    shards = read_json(folder / INDEX).get("weight_map")
    if not isinstance(shards, dict) or not shards or not all(isinstance(name, str) for name in shards.values()):
        raise SooError(f"{folder / INDEX}: no weight_map from tensors to files; copy the file again")
    files = []
    for name in sorted(set(shards.values())):
        if Path(name).name != name or not name.endswith(".safetensors"):
            raise SooError(
                f"{folder / INDEX}: {name!r} is no safetensors file inside this folder; use the model's own index"
            )
        if not (folder / name).is_file():
            raise SooError(f"{folder / name}: named by {INDEX} but missing; copy the file into the folder")
        files.append(folder / name)
    return files


def write_safetensors(folder: Path, tensors: Iterable[tuple[str, np.ndarray]], shard_bytes: int = 5 * 10**9) -> None:
    """Writes named tensors as one file, or sharded with an index where they are large.

    At most one shard of ``shard_bytes`` is held in host memory.
    """
    parts: list[tuple[Path, list[str]]] = []
    shard: dict[str, np.ndarray] = {}
    size = total = 0

    def flush() -> None:
        nonlocal shard, size
        path = folder / f"shard-{len(parts)}.safetensors"
        save_file(shard, path, metadata={"format": "pt"})
        parts.append((path, list(shard)))
        shard, size = {}, 0

    for name, value in tensors:
        array = np.ascontiguousarray(value)
        if shard and size + array.nbytes > shard_bytes:
            flush()
        shard[name] = array
        size += array.nbytes
        total += array.nbytes
    flush()
    if len(parts) == 1:
        parts[0][0].rename(folder / SINGLE)
        return
    weight_map = {}
    for i, (path, held) in enumerate(parts):
        final = f"model-{i + 1:05d}-of-{len(parts):05d}.safetensors"
        path.rename(folder / final)
        weight_map.update(dict.fromkeys(held, final))
    index = {"metadata": {"total_size": total}, "weight_map": weight_map}
    (folder / INDEX).write_text(json.dumps(index, indent=2, sort_keys=True) + "\n", encoding="utf-8")
