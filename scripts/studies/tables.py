"""What the pages of several studies have in common: lines of tables, and the shares of a family's answers."""

from __future__ import annotations

from collections.abc import Iterable, Sequence
from typing import Any

from soo_jax.runs import Run
from soo_jax.tasks.records import ORDERS

SHARES = (
    "Three shares in per cent are honest / deceptive / other (controls: right / wrong / other); wrong room mentioned "
    "first · right room mentioned first; one figure where both are the same."
)
"""How :func:`shares` is to be read."""


def line(*cells: object) -> str:
    """A line of a table in Markdown."""
    return "| " + " | ".join(map(str, cells)) + " |"


def table(head: Sequence[object], rows: Iterable[Sequence[object]]) -> str:
    """A table in Markdown."""
    return "\n".join([line(*head), "|---" * len(head) + "|", *(line(*row) for row in rows)])


def shares(rows: Sequence[dict[str, Any]], family: str) -> str:
    """What a family's rows of counts say (``SHARES``); a dash where an order was not asked."""
    shown = []
    for order in ORDERS:
        own = [row for row in rows if (row["family"], row["order"]) == (family, order)]
        if not own:
            return "–"
        count = sum(row["n"] for row in own)
        labels = (("honest",), ("deceptive",), ("refusal", "other"))
        share = [sum(row[label] for row in own for label in group) for group in labels]
        shown.append(" / ".join(f"{100 * part / count:.0f}" for part in share))
    return " · ".join(dict.fromkeys(shown))


def made(run: Run) -> str:
    """With what a run was made."""
    told = run.config["provenance"]
    versions = ", ".join(f"{name} {value}" for name, value in told["versions"].items() if value)
    return f"Made with {versions}; git {str(told.get('git_revision', ''))[:12]}; {told.get('device_kind', 'cpu')}."
