"""The protocol that every format of weights serves."""

from __future__ import annotations

from collections.abc import Collection
from pathlib import Path
from typing import Protocol

import ml_dtypes
import numpy as np

DTYPES = {"float32": np.float32, "float16": np.float16, "bfloat16": ml_dtypes.bfloat16}
"""The dtypes of weights, by name."""


class TensorReader(Protocol):
    """Named tensors on disk, read slice by slice. Use as a context manager: leaving it closes the files.

    Attributes:
      folder: where they come from, for messages.
    """

    folder: Path

    @property
    def names(self) -> Collection[str]:
        """The names of all tensors."""

    def shape(self, name: str) -> tuple[int, ...]:
        """Shape as stored."""

    def dtype(self, name: str) -> str:
        """Name of the dtype as stored; one that is not in ``DTYPES`` cannot be read."""

    def file(self, name: str) -> Path:
        """The file that holds the tensor, for messages."""

    def read(self, name: str, index: tuple[slice, ...] = ()) -> np.ndarray:
        """The values at ``index`` (all of them without one), reading no more of the file than that."""
