"""GGUF: one file (or several parts) with metadata, tokenizer and quantised tensors. Its header is read by hand.

The header is small and the file is not trusted: every length in it is compared with the size of the file before
anything is read or allocated. Layout: https://github.com/ggml-org/ggml/blob/master/docs/gguf.md. What the blocks of
quantised numbers mean is left to the ``gguf`` package.
"""

from __future__ import annotations

import math
import mmap
import re
import struct
from collections.abc import Collection
from dataclasses import dataclass
from pathlib import Path
from types import TracebackType
from typing import Any

import numpy as np

from soo_jax.errors import SooError

SUPPORTED = ("F32", "F16", "BF16", "Q8_0", "Q4_0", "Q4_1", "Q5_0", "Q5_1", "Q4_K", "Q5_K", "Q6_K")
"""The types of tensors that are read, by their names in GGUF."""

_PLAIN = {"F32": "float32", "F16": "float16", "BF16": "bfloat16"}
_SCALARS = {0: "B", 1: "b", 2: "H", 3: "h", 4: "I", 5: "i", 6: "f", 7: "?", 10: "Q", 11: "q", 12: "d"}
_STRING, _ARRAY = 8, 9
_AT_ONCE = 1 << 20
_MOST_DIMS, _MOST_NESTED = 4, 2
_PART = re.compile(r"^(?P<stem>.+)-(?P<part>\d{5})-of-(?P<parts>\d{5})\.gguf$")


@dataclass(frozen=True)
class Tensor:
    """Where a tensor lies: its file, type, shape as numpy has it, and the bytes ``[start, start + size)``."""

    path: Path
    kind: str
    shape: tuple[int, ...]
    start: int
    size: int


@dataclass(frozen=True)
class Header:
    """What a file says before its numbers.

    Attributes:
      metadata: by key; arrays are lists. tensors: by their names in GGUF.
    """

    metadata: dict[str, Any]
    tensors: dict[str, Tensor]


class GgufReader:
    """The tensors of a GGUF model under their own names; a :class:`~soo_jax.models.formats.reader.TensorReader`.

    A file named ``...-00001-of-0000N.gguf`` is read together with its other parts.

    Attributes:
      metadata: of the first part.

    Raises:
      SooError: no GGUF file, a truncated or damaged one, a part that is missing, a type that is not supported.
    """

    def __init__(self, path: str | Path):
        self.folder = Path(path)
        headers = [read_header(part) for part in parts_of(self.folder)]
        self.metadata = headers[0].metadata
        self._tensors: dict[str, Tensor] = {}
        for header in headers:
            for name, tensor in header.tensors.items():
                if name in self._tensors:
                    raise SooError(f"{tensor.path}: holds the tensor {name} a second time; download the file again")
                self._tensors[name] = tensor
        self._maps: dict[Path, mmap.mmap] = {}

    def __enter__(self) -> GgufReader:
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        self._maps.clear()

    @property
    def names(self) -> Collection[str]:
        return self._tensors.keys()

    def shape(self, name: str) -> tuple[int, ...]:
        return self._tensors[name].shape

    def dtype(self, name: str) -> str:
        """Quantised numbers are read as float32, which holds them exactly."""
        return _PLAIN.get(self._tensors[name].kind, "float32")

    def file(self, name: str) -> Path:
        return self._tensors[name].path

    def read(self, name: str, index: tuple[slice, ...] = ()) -> np.ndarray:
        tensor = self._tensors[name]
        mapped = self._mapped(tensor.path)
        raw = np.frombuffer(mapped, np.uint8, tensor.size, tensor.start)
        rows = raw.reshape(math.prod(tensor.shape[:-1]), -1)
        first = index[0] if index and len(tensor.shape) > 1 else slice(None)
        values = _values(rows[first], tensor.kind)
        if hasattr(mmap, "MADV_DONTNEED"):  # what was read of the file need not stay in memory
            mapped.madvise(mmap.MADV_DONTNEED)
        values = values.reshape(-1, *tensor.shape[1:]) if len(tensor.shape) > 1 else values.reshape(-1)
        rest = index[1:] if len(tensor.shape) > 1 else index
        return values[(slice(None), *rest)] if len(tensor.shape) > 1 and rest else values[rest] if rest else values

    def _mapped(self, path: Path) -> mmap.mmap:
        if path not in self._maps:
            with path.open("rb") as file:
                self._maps[path] = mmap.mmap(file.fileno(), 0, access=mmap.ACCESS_READ)
        return self._maps[path]


def parts_of(path: Path) -> list[Path]:
    """The files of a model, from the one that is named.

    Raises:
      SooError: a part is missing.
    """
    found = _PART.match(path.name)
    if found is None:
        return [path]
    count = int(found["parts"])
    parts = [
        path.with_name(f"{found['stem']}-{i:05d}-of-{found['parts']}.gguf") for i in range(1, min(count, 1000) + 1)
    ]
    for part in parts:
        if not part.is_file():
            raise SooError(f"{part}: this part of the model is missing; put all {count} parts into one folder")
    return parts


def read_header(path: Path) -> Header:
    """Metadata and the places of all tensors.

    Raises:
      SooError: as :class:`GgufReader`.
    """
    kinds = _kinds(path)
    try:
        raw = np.memmap(path, np.uint8, "r")
    except (OSError, ValueError) as error:
        raise SooError(f"{path}: cannot be read ({error}); give a GGUF file") from error
    cursor = _Cursor(path, memoryview(raw))
    if cursor.left < 24 or bytes(cursor.take(4)) != b"GGUF":
        raise SooError(f"{path}: is no GGUF file; give one, or a Hugging Face folder")
    version = cursor.one("I")
    if version not in (2, 3):
        raise SooError(f"{path}: is a GGUF file of version {version}; versions 2 and 3 are supported (little-endian)")
    tensors, keys = cursor.count("Q", 24), cursor.count("Q", 13)
    metadata = {}
    for _ in range(keys):
        key = cursor.text()
        metadata[key] = cursor.value(cursor.one("I"))
    told = [_told(cursor, kinds) for _ in range(tensors)]
    alignment = metadata.get("general.alignment", 32)
    if not isinstance(alignment, int) or alignment < 1 or alignment > 1 << 20:
        raise cursor.damaged(f"an alignment of {alignment!r}")
    begin = -(-cursor.at // alignment) * alignment
    found: dict[str, Tensor] = {}
    for name, kind, shape, offset, size in told:
        if name in found:
            raise cursor.damaged(f"the tensor {name} twice")
        if begin + offset + size > len(raw):
            raise SooError(f"{path}: is truncated (the tensor {name} reaches past its end); download the file again")
        found[name] = Tensor(path, kind, shape, begin + offset, size)
    return Header(metadata, found)


def _kinds(path: Path) -> dict[int, tuple[str, int, int]]:
    """Types by number: their names, how many values a block has, and its bytes."""
    try:
        import gguf
    except ImportError as error:
        raise SooError(f"{path}: GGUF files are read with the package gguf; pip install 'soo-jax[gguf]'") from error
    return {int(kind): (kind.name, *sizes) for kind, sizes in gguf.GGML_QUANT_SIZES.items()}


def _values(rows: np.ndarray, kind: str) -> np.ndarray:
    """Rows of bytes as rows of numbers."""
    if kind in _PLAIN:
        import ml_dtypes

        plain = {"F32": np.float32, "F16": np.float16, "BF16": ml_dtypes.bfloat16}[kind]
        return np.ascontiguousarray(rows).view(plain)
    from gguf import GGML_QUANT_SIZES, GGMLQuantizationType
    from gguf.quants import dequantize

    quantised = GGMLQuantizationType[kind]
    block, width = GGML_QUANT_SIZES[quantised]
    out = np.empty((len(rows), rows.shape[-1] // width * block), np.float32)
    step = max(1, _AT_ONCE // out.shape[-1])
    for start in range(0, len(rows), step):  # a part at a time: what lies between takes several times the room
        out[start : start + step] = dequantize(np.ascontiguousarray(rows[start : start + step]), quantised)
    return out


def _told(cursor: _Cursor, kinds: dict[int, tuple[str, int, int]]) -> tuple[str, str, tuple[int, ...], int, int]:
    """One line of the table of tensors: name, type, shape, offset, bytes."""
    name, count = cursor.text(), cursor.one("I")
    if not 1 <= count <= _MOST_DIMS:
        raise cursor.damaged(f"a tensor {name!r} of {count} dimensions")
    shape = tuple(reversed([cursor.one("Q") for _ in range(count)]))
    number, offset = cursor.one("I"), cursor.one("Q")
    kind, block, width = kinds.get(number, (f"number {number}", 1, 1))
    if kind not in SUPPORTED:
        raise SooError(
            f"{cursor.path}: {name} is stored as {kind}, which is not supported; choose a file with "
            f"{', '.join(SUPPORTED)}"
        )
    if min(shape) < 1 or math.prod(shape) > 1 << 40 or shape[-1] % block:
        raise cursor.damaged(f"a tensor {name!r} of shape {list(shape)}")
    return name, kind, shape, offset, math.prod(shape) // block * width


class _Cursor:
    """Reads the header from front to back; nothing is read or allocated beyond the end of the file."""

    def __init__(self, path: Path, raw: memoryview):
        self.path, self._raw, self.at = path, raw, 0

    @property
    def left(self) -> int:
        return len(self._raw) - self.at

    def damaged(self, what: str) -> SooError:
        return SooError(f"{self.path}: is damaged (its header tells of {what}); download the file again")

    def take(self, size: int) -> memoryview:
        if size > self.left:
            raise SooError(f"{self.path}: is truncated (its header ends too early); download the file again")
        part = self._raw[self.at : self.at + size]
        self.at += size
        return part

    def one(self, code: str) -> Any:
        return struct.unpack(f"<{code}", self.take(struct.calcsize(f"<{code}")))[0]

    def count(self, code: str, least: int) -> int:
        """A number of things that take at least so many bytes each."""
        found = self.one(code)
        if found * least > self.left:
            raise self.damaged(f"{found:,} entries, for which the file is too small")
        return found

    def text(self) -> str:
        length = self.one("Q")
        try:
            return bytes(self.take(length)).decode("utf-8")
        except UnicodeDecodeError as error:
            raise self.damaged("a text that is not UTF-8") from error

    def value(self, kind: int, nested: int = 0) -> Any:
        if kind in _SCALARS:
            return self.one(_SCALARS[kind])
        if kind == _STRING:
            return self.text()
        if kind != _ARRAY or nested > _MOST_NESTED:
            raise self.damaged(f"a value of the kind {kind}")
        inner = self.one("I")
        if inner in _SCALARS:
            width = struct.calcsize(f"<{_SCALARS[inner]}")
            size = self.count("Q", width)
            return list(struct.unpack(f"<{size}{_SCALARS[inner]}", self.take(size * width)))
        return [self.value(inner, nested + 1) for _ in range(self.count("Q", 8))]
