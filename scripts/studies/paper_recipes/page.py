"""The record of the study as a page."""

from __future__ import annotations

from collections.abc import Sequence
from pathlib import Path


def page(out: Path, names: Sequence[str]) -> str:
    raise NotImplementedError
