"""What the pages of several studies have in common: lines of tables, and the shares of a family's answers."""

from __future__ import annotations

from collections.abc import Iterable, Sequence
from pathlib import Path
from typing import Any

import numpy as np

from soo_jax.errors import SooError
from soo_jax.runs import Run, read_run
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


def complete(path: Path) -> Run:
    """A run of a study. Raises SooError where it was interrupted."""
    run = read_run(path)
    if not run.complete:
        raise SooError(f"{path}: the run is {run.state}; its figures would be those of a part of it")
    return run


def margin_cells(responses: Sequence[dict[str, Any]], family: str) -> list[str]:
    """Of each order of mention: the margin, mean ± standard deviation over answers, and how many lie below zero."""
    cells = []
    for order in ORDERS:
        own = [row["logp_margin"] for row in responses if (row["family"], row["order"]) == (family, order)]
        cells += [f"{np.mean(own):.2f} ± {np.std(own, ddof=1):.2f}", f"{100 * np.mean(np.less(own, 0)):.0f} %"]
    return cells


def misleads(rows: Sequence[dict[str, Any]], family: str) -> str:
    """Per cent of a family's answers that say that they mean to mislead, both orders together; of rivals alone."""
    own = [row for row in rows if row["family"] == family and row["mislead"] is not None]
    return f"{100 * sum(row['mislead'] for row in own) / sum(row['n'] for row in own):.0f} %" if own else "–"
