"""What the machine has: memory that is free, and memory laid out as its programs want it."""

from __future__ import annotations

import math
import os
import re
from contextlib import suppress
from pathlib import Path

import numpy as np

_ALIGNMENT = 64


def free_bytes() -> int:
    """Memory of the machine that is free or can be freed at once; 0 where the system does not tell."""
    with suppress(OSError):
        found = re.search(r"^MemAvailable:\s+(\d+) kB", Path("/proc/meminfo").read_text(encoding="ascii"), re.MULTILINE)
        if found:
            return int(found[1]) * 1024
    with suppress(AttributeError, ValueError, OSError):
        return os.sysconf("SC_AVPHYS_PAGES") * os.sysconf("SC_PAGE_SIZE")
    return 0


def aligned(shape: tuple[int, ...], dtype: np.dtype) -> np.ndarray:
    """An empty array that begins where a CPU's programs want theirs to begin, so that JAX need not copy it."""
    size = math.prod(shape) * dtype.itemsize
    raw = np.empty(size + _ALIGNMENT, np.uint8)
    begin = -raw.ctypes.data % _ALIGNMENT
    return raw[begin : begin + size].view(dtype).reshape(shape)
