"""Tensors that hold several others one below the other, read as if each of these were stored alone."""

from __future__ import annotations

import itertools
from collections.abc import Collection, Mapping
from pathlib import Path
from types import TracebackType
from typing import NamedTuple

import numpy as np

from soo_jax.models.architectures import architecture
from soo_jax.models.architectures.family import module_of
from soo_jax.models.config import DecoderConfig
from soo_jax.models.formats.quantised import QuantisedReader
from soo_jax.models.formats.reader import TensorReader


class Part(NamedTuple):
    """Where a tensor lies: rows ``first`` to ``last`` of a stored one that has ``rows`` of them."""

    stored: str
    first: int
    last: int
    rows: int


class FusedReader:
    """A reader of parts beside the tensors that are whole; see :class:`~soo_jax.models.formats.reader.TensorReader`.

    Args:
      inner: what is stored. parts: by name, as far as the tensor that holds them is there.
    """

    def __init__(self, inner: TensorReader, parts: Mapping[str, Part]):
        self._inner, self.folder = inner, inner.folder
        self._parts = {name: part for name, part in parts.items() if part.stored in inner.names}

    def __enter__(self) -> FusedReader:
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        self._inner.__exit__(kind, error, trace)

    @property
    def names(self) -> Collection[str]:
        held = {part.stored for part in self._parts.values()}
        return {*(name for name in self._inner.names if name not in held), *self._parts}

    def shape(self, name: str) -> tuple[int, ...]:
        """That of the part; where the stored tensor has other rows than it should, its own."""
        part = self._parts.get(name)
        if part is None:
            return self._inner.shape(name)
        whole = self._inner.shape(part.stored)
        return (part.last - part.first, *whole[1:]) if whole[:1] == (part.rows,) else whole

    def dtype(self, name: str) -> str:
        return self._inner.dtype(self._stored(name))

    def file(self, name: str) -> Path:
        return self._inner.file(self._stored(name))

    def read(self, name: str, index: tuple[slice, ...] = ()) -> np.ndarray:
        part = self._parts.get(name)
        if part is None:
            return self._inner.read(name, index)
        rows, *others = index or (slice(None),)
        first, last, _ = rows.indices(part.last - part.first)
        return self._inner.read(part.stored, (slice(part.first + first, part.first + last), *others))

    def _stored(self, name: str) -> str:
        return self._parts[name].stored if name in self._parts else name


def parted(tensors: TensorReader, config: DecoderConfig) -> TensorReader:
    """The reader with every projection by its own name, where a family stores several in one tensor."""
    fused = architecture(config.architecture).fused
    if not fused or isinstance(tensors, QuantisedReader):  # quantised here, each was stored alone
        return tensors
    found = {}
    for module, parts in fused.items():
        ends = [0, *itertools.accumulate(config.projection_shape(part)[1] for part in parts)]
        for i in range(config.num_layers):
            for part, first, last in zip(parts, ends, ends[1:], strict=False):
                own = f"model.layers.{i}.{module_of(part)}.weight"
                found[own] = Part(f"model.layers.{i}.{module}.weight", first, last, ends[-1])
    return FusedReader(tensors, found)
