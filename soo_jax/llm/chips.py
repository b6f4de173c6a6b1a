"""Accelerators as a planner sees them: memory, products, bandwidth, links, as the makers' data sheets say."""

from __future__ import annotations

import re
from dataclasses import dataclass
from typing import Any

from soo_jax.errors import SooError


@dataclass(frozen=True)
class Chip:
    """One device as JAX counts them.

    Attributes:
      memory: bytes. flops: of dense bfloat16 products, in FLOP/s. bandwidth: of its memory, bytes/s.
      link: to the other devices of its host or slice, bytes/s in one direction.
      close: how many devices have that link to one another; beyond them is a network.
      kind: what JAX calls it, as a pattern. cores: how many a name such as ``v4-8`` counts for each device.
    """

    name: str
    memory: float
    flops: float
    bandwidth: float
    link: float
    close: int
    kind: str
    cores: int = 1


_G, _T = 1e9, 1e12
CHIPS = {
    chip.name: chip
    for chip in (
        Chip("h100", 80 * _G, 989 * _T, 3.35 * _T, 450 * _G, 8, r"H100"),
        Chip("h200", 141 * _G, 989 * _T, 4.8 * _T, 450 * _G, 8, r"H200"),
        Chip("a100", 80 * _G, 312 * _T, 2.04 * _T, 300 * _G, 8, r"A100.*80"),
        Chip("a100-40", 40 * _G, 312 * _T, 1.56 * _T, 300 * _G, 8, r"A100"),
        Chip("l4", 24 * _G, 121 * _T, 0.3 * _T, 32 * _G, 8, r"L4\b"),
        Chip("rtx4090", 24 * _G, 165 * _T, 1.01 * _T, 32 * _G, 8, r"RTX 4090"),
        Chip("v4", 32 * _G, 275 * _T, 1.23 * _T, 300 * _G, 4096, r"TPU v4$", 2),
        Chip("v5e", 16 * _G, 197 * _T, 0.82 * _T, 200 * _G, 256, r"TPU v5 ?(lite|e)"),
        Chip("v5p", 95 * _G, 459 * _T, 2.77 * _T, 600 * _G, 8960, r"TPU v5p?$", 2),
        Chip("v6e", 32 * _G, 918 * _T, 1.64 * _T, 448 * _G, 256, r"TPU v6 ?(lite|e)"),
    )
}
"""The accelerators by name."""
USABLE = 0.9
"""Share of a device's memory that a program gets."""


def parse_devices(text: str) -> tuple[Chip, int]:
    """``h100x8``, ``a100``, ``v5e-16``, ``v4-8``: the chip and how many devices JAX will see.

    Names of TPU slices are the maker's: v4 and v5p count two cores a chip.

    Raises:
      SooError: an unknown chip, or no count.
    """
    names = "|".join(sorted(CHIPS, key=len, reverse=True))
    found = re.fullmatch(rf"(?P<chip>{names})(?:[x-](?P<count>[1-9]\d*))?", text.strip().lower())
    if found is None:
        raise SooError(f"devices {text!r}: write CHIP or CHIPxCOUNT (h100x8, v5e-16) with {', '.join(CHIPS)}")
    chip = CHIPS[found["chip"]]
    return chip, max(1, int(found["count"] or 1) // chip.cores)


def chip_of(device: Any) -> Chip | None:
    """The chip behind a device of JAX; None for one that is not known, a CPU among them."""
    return next((chip for chip in CHIPS.values() if re.search(chip.kind, device.device_kind)), None)
