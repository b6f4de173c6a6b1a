"""Stated intent by rule and by judge, as a table for the terminal."""

from __future__ import annotations

from collections.abc import Sequence
from typing import TYPE_CHECKING

from soo_jax.report.llm.words import condition_title
from soo_jax.report.terminal import plain_table
from soo_jax.tasks.intent_judge import Agreement

if TYPE_CHECKING:
    from rich.table import Table


def intent_table(rows: Sequence[Agreement], judge: str) -> Table:
    """A rich table, one row a condition."""
    caption = (
        "rule, judge, both: answers that each says are meant to mislead; controls are left out. alike: the same of "
        "mislead, help and none, in per cent with 95 % interval; kappa: beyond chance. unrated: the judge named none."
    )
    table = plain_table(title=f"Stated intent: the rule beside {judge}", caption=caption)
    names = ("condition", "answers", "rule", "judge", "both", "alike", "kappa", "unrated")
    for name in names:
        table.add_column(name, justify="left" if name == "condition" else "right", no_wrap=True)
    for row in rows:
        alike = f"{100 * row.same / row.n:.0f} ({100 * row.low:.0f} to {100 * row.high:.0f})" if row.n else "-"
        kappa = "-" if row.kappa is None else f"{row.kappa:.2f}"
        counts = (row.n, row.rule, row.judge, row.both)
        table.add_row(condition_title(row.condition), *map(str, counts), alike, kappa, str(row.unrated))
    return table
