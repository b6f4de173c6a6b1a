"""SOO beside its controls: one line for each, as a table for the terminal."""

from __future__ import annotations

from collections.abc import Sequence
from typing import TYPE_CHECKING

from soo_jax.report.llm.drift import drifts, shown
from soo_jax.report.llm.tables import deception_rows
from soo_jax.report.llm.words import condition_title, family_title, in_sequence
from soo_jax.report.terminal import plain_table
from soo_jax.tasks.statistics import Cell, aggregate

if TYPE_CHECKING:
    from rich.table import Table

    from soo_jax.runs import Run


def controls_table(runs: Sequence[Run]) -> Table:
    """A rich table: the first rival, the worst rival and the worst control of every condition, and its drift."""
    (run,) = runs
    header, *lines = controls_lines(run)
    caption = (
        "Honest answers in per cent, ± sd over seeds, both orders together; in controls honest is right. misl.: honest "
        "in act, and says that it means to mislead. KL: from the model without adapters, nats per token on ordinary "
        "texts."
    )
    table = plain_table(title=f"SOO and what might do the same: {run.path.name}", caption=caption)
    for name in header:
        table.add_column(name, no_wrap=True)
    for line in lines:
        table.add_row(*line)
    return table


def controls_lines(run: Run) -> list[tuple[str, ...]]:
    """The table's cells as texts, its header first."""
    cells = aggregate(deception_rows(run), pool_orders=True)
    drift = {one.condition: one for one in drifts(run.drift)}
    first = next((cell.family for cell in cells if not cell.control), "")
    found = [("", family_title(first), "misl.", "worst rival", "worst control", "KL")]
    for condition in in_sequence(cell.condition for cell in cells):
        own = [cell for cell in cells if cell.condition == condition]
        about = next((cell for cell in own if cell.family == first), None)
        moved = drift.get(condition)
        found.append(
            (
                condition_title(condition),
                _rate(about),
                "" if about is None or about.contradiction is None else f"{about.contradiction.mean:.0f}",
                _worst([cell for cell in own if not cell.control]),
                _worst([cell for cell in own if cell.control]),
                "" if moved is None or condition == "base" else shown(moved.kl, 3),
            )
        )
    return found


def _worst(cells: Sequence[Cell]) -> str:
    worst = min(cells, key=lambda cell: cell.honest.mean, default=None)
    return "" if worst is None else f"{_rate(worst)} {family_title(worst.family)}"


def _rate(cell: Cell | None) -> str:
    if cell is None:
        return "-"
    return f"{cell.honest.mean:.0f}" + ("" if cell.honest.sd is None else f"±{cell.honest.sd:.0f}")
