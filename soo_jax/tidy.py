"""Tidy rows: flat dicts of strings and finite numbers, as ``results.json`` and ``responses.jsonl`` hold them."""

from __future__ import annotations

import json
import math
import numbers
from pathlib import Path
from typing import Any

TABLES = ("rows", "latent", "training", "layers", "drift")
"""The tables of ``results.json`` (docs/data.md)."""


def finite_row(row: dict[str, Any]) -> dict[str, Any]:
    """The row with every number that is not finite replaced by None, as ``results.json`` wants it."""
    plain = {name: _scalar(value) for name, value in row.items()}
    return {n: None if isinstance(v, float) and not math.isfinite(v) else v for n, v in plain.items()}


def _scalar(value: Any) -> Any:
    """Array scalars (numpy, jax) as plain numbers; anything else as it is."""
    if isinstance(value, str | bool | int | float) or value is None:
        return value
    if getattr(value, "ndim", None) == 0 and hasattr(value, "item"):
        return value.item()
    return float(value) if isinstance(value, numbers.Real) else value


def plain(value: Any, where: str) -> str | bool | int | float | None:
    """The value as JSON takes it. Raises ValueError, naming ``where``, if it is nested or not finite."""
    value = _scalar(value)
    if isinstance(value, float) and not math.isfinite(value):
        raise ValueError(f"{where} is {value}; results hold finite numbers or None")
    if value is None or isinstance(value, str | bool | int | float):
        return value
    raise ValueError(f"{where} is a {type(value).__name__}; rows are flat: strings, numbers, booleans, None")


def one_row_per_line(results: dict[str, Any]) -> str:
    """JSON with each row of a table on a line of its own, so that a diff of two runs can be read."""
    parts = []
    for name, value in results.items():
        if name in TABLES and value:
            body = ",\n".join("    " + json.dumps(row, ensure_ascii=False) for row in value)
            parts.append(f"  {json.dumps(name)}: [\n{body}\n  ]")
        else:
            parts.append(f"  {json.dumps(name)}: {json.dumps(value, ensure_ascii=False)}")
    return "{\n" + ",\n".join(parts) + "\n}\n"


def named(value: Any) -> Any:
    """What stands in JSON for a value that has no JSON form: numbers for array scalars, names for functions."""
    scalar = _scalar(value)
    if scalar is not value:
        return scalar
    if isinstance(value, Path):
        return str(value)
    if isinstance(value, set | frozenset):
        return sorted(value)
    return getattr(value, "__qualname__", None) or repr(value)
