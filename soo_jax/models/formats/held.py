"""Parameters in memory, read as tensors of a file are."""

from __future__ import annotations

from collections.abc import Collection, Mapping
from pathlib import Path
from typing import Any, NamedTuple

import numpy as np

from soo_jax.distributed import whole


class Held(NamedTuple):
    """Where a tensor lies: a leaf of the parameters, the layer if it is a stack of them, and whether files turn it."""

    leaf: Any
    layer: int | None
    transposed: bool


class HeldReader:
    """A reader of what is in memory; see :class:`~soo_jax.models.formats.reader.TensorReader`."""

    def __init__(self, folder: Path, tensors: Mapping[str, Held]):
        self.folder, self._tensors = folder, tensors

    @property
    def names(self) -> Collection[str]:
        return self._tensors.keys()

    def shape(self, name: str) -> tuple[int, ...]:
        """Shape as a file has it."""
        leaf, layer, transposed = self._tensors[name]
        own = leaf.shape if layer is None else leaf.shape[1:]
        return own[::-1] if transposed else own

    def dtype(self, name: str) -> str:
        """Name of the dtype that it is held in."""
        return str(self._tensors[name].leaf.dtype)

    def file(self, name: str) -> Path:
        """Where the model came from."""
        return self.folder

    def read(self, name: str, index: tuple[slice, ...] = ()) -> np.ndarray:
        """The values at ``index``, on the host."""
        leaf, layer, transposed = self._tensors[name]
        inside = index or (slice(None),) * len(self.shape(name))
        inside = inside[::-1] if transposed else inside
        values = whole(leaf[inside if layer is None else (layer, *inside)])
        return values.T if transposed else values
