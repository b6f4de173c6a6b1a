"""What earlier versions called things that files still hold."""

from __future__ import annotations

from typing import Any

_ORDERS = {"cheap_first": "wrong_first", "expensive_first": "right_first"}


def of_this_version(row: dict[str, Any]) -> dict[str, Any]:
    """A scenario, or a row of results about scenarios, with the names of fields and orders that earlier versions gave
    them replaced by those of this one.
    """
    if "family" in row or "scenario" not in row:
        return row
    renamed = {"family" if name == "scenario" else name: value for name, value in row.items()}
    return {**renamed, "order": _ORDERS.get(row.get("order"), row.get("order"))}
