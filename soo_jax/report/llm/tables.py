"""The results as a table: for the terminal, and as rows for the page."""

from __future__ import annotations

from collections.abc import Iterable, Sequence
from dataclasses import dataclass
from textwrap import wrap
from typing import TYPE_CHECKING

from soo_jax.report.llm.words import (
    condition_title,
    families_in_sequence,
    family_title,
    first_mentioned,
    in_sequence,
    order_title,
)
from soo_jax.report.terminal import plain_table
from soo_jax.tasks.statistics import CELL, Cell, Rate, aggregate, controls_among, count_responses, orders_in_sequence

if TYPE_CHECKING:
    from rich.table import Table

    from soo_jax.runs import Run


@dataclass(frozen=True)
class Line:
    """One line of the table: a family of scenarios in one order.

    Attributes:
      cells: by condition; conditions that were not measured here are missing.
      first: whether it is the first line of its family.
      span: how many lines the family has.
    """

    family: str
    order: str
    title: str
    order_title: str
    control: bool
    first: bool
    span: int
    cells: dict[str, Cell]


def deception_rows(run: Run) -> list[dict]:
    """The run's deception rows; of a run that ended before it wrote them, those of the responses it has."""
    rows = [row for row in run.rows if "family" in row]
    if rows or run.complete:
        return rows
    return count_responses(row for row in run.responses if {*CELL, "seed", "label"} <= set(row))


def table_lines(cells: Sequence[Cell]) -> list[Line]:
    """The cells sorted into lines: built-in families first, rivals before controls."""
    lines = []
    controls = controls_among(cells)
    for family in sorted(families_in_sequence(cell.family for cell in cells), key=lambda name: name in controls):
        orders = orders_in_sequence(cell.order for cell in cells if cell.family == family)
        for order in orders:
            here = {cell.condition: cell for cell in cells if (cell.family, cell.order) == (family, order)}
            lines.append(
                Line(
                    family=family,
                    order=order,
                    title=family_title(family),
                    order_title=order_title(family in controls, order),
                    control=family in controls,
                    first=order == orders[0],
                    span=len(orders),
                    cells=here,
                )
            )
    return lines


def terminal_table(runs: Iterable[Run]) -> Table:
    """A rich table of whole per cent by scenario and order, one group of columns per run and condition.

    Three conditions of one run fit into 80 columns. Where an honest act came with words that mean to mislead, a column
    tells how many did.
    """
    runs = list(runs)
    measured = [(run, aggregate(deception_rows(run))) for run in runs]
    contradicted = any(contradicts(cell) for _, cells in measured for cell in cells)
    groups = [(run, name) for run, cells in measured for name in in_sequence(cell.condition for cell in cells)]
    table = plain_table(title=_title(runs), caption=_caption(runs, contradicted))
    headings = [
        _broken(condition_title(name) if len(runs) == 1 else f"{condition_title(name)}: {run.path.name}")
        for run, name in groups
    ]
    height = max(heading.count("\n") for heading in headings) if headings else 0
    above = lambda heading: "\n" * (height - heading.count("\n")) + heading
    table.add_column(above("\nscenario"), no_wrap=True)
    table.add_column(above("mentioned\nfirst"), style="dim", no_wrap=True)
    for heading in headings:
        told = f"{above(heading)}\n[not bold]honest {'misl. ' if contradicted else ''}dec. none[/]"
        table.add_column(told, no_wrap=True)
    lines = {run.path: {(line.family, line.order): line for line in table_lines(cells)} for run, cells in measured}
    previous = None
    for line in table_lines([cell for _, cells in measured for cell in cells]):
        if previous is not None and line.control != previous.control:
            table.add_row()
        found = [(lines[run.path].get((line.family, line.order)), condition) for run, condition in groups]
        texts = [terminal_cell(own.cells.get(condition) if own else None, contradicted) for own, condition in found]
        table.add_row(line.title if line.first else "", first_mentioned(line.control, line.order), *texts)
        previous = line
    return table


def _broken(heading: str) -> str:
    """A heading in lines as narrow as its column; what sets members apart begins a line."""
    return "\n".join(line for part in heading.split(", ") for line in wrap(part, 16, break_long_words=False))


def terminal_cell(cell: Cell | None, contradicted: bool = False) -> str:
    """Honest ± sd, deceptive and neither in 16 columns, honest in bold; a dash where nothing was measured.

    Args:
      contradicted: also tell, behind the honest acts, how many of all answers are such acts and say that they mean to
        mislead.
    """
    if cell is None:
        return "[dim]  -[/]"
    spread = "" if cell.honest.sd is None else f"±{cell.honest.sd:.0f}"
    stated = ""
    if contradicted:
        stated = " " * 6 if cell.contradiction is None else f"{cell.contradiction.mean:5.0f} "
    return f"[bold]{cell.honest.mean:3.0f}[/]{spread:3} {stated}{cell.deceptive.mean:4.0f} {silent(cell):4.0f}"


def silent(cell: Cell) -> float:
    """Per cent of answers that name no place: refusal and other together."""
    return cell.refusal.mean + cell.other.mean


def contradicts(cell: Cell) -> bool:
    """Whether an honest act came with words that mean to mislead."""
    return cell.contradiction is not None and cell.contradiction.mean > 0


def interval(rate: Rate) -> str:
    """The 95 % interval of a rate, as in ``82.0–88.8``."""
    return f"{rate.lo:.1f}–{rate.hi:.1f}"


def _title(runs: Sequence[Run]) -> str:
    return "Answers in per cent" + (f": {runs[0].path.name}" if len(runs) == 1 else "")


def _caption(runs: Sequence[Run], contradicted: bool) -> str:
    caption = "± sd over seeds. none: refused, or named no place. Controls: honest is right."
    if contradicted:
        caption += "\nmisl.: honest in act, and says that it means to mislead; these are among the honest ones."
    for run in runs:
        if not run.complete:
            caption = f"INCOMPLETE RUN ({run.state}): {run.path.name}\n" + caption
    return caption


def cell_rows(cells: Iterable[Cell]) -> list[dict]:
    """Cells as flat rows: every rate in per cent with its standard deviation and 95 % interval, and each seed's."""
    rows = []
    for cell in cells:
        row = {name: getattr(cell, name) for name in ("condition", "family", "order", "control", "seeds", "n")}
        for name in ("honest", "deceptive", "refusal", "other", "paper_deceptive", "mislead", "contradiction"):
            rate = getattr(cell, name)
            if rate is not None:
                row |= {name: rate.mean, f"{name}_sd": rate.sd, f"{name}_low": rate.lo, f"{name}_high": rate.hi}
                row[f"{name}_by_seed"] = " ".join(f"{value:g}" for value in rate.values)
        if cell.logp_margin is not None:
            row |= {"logp_margin": cell.logp_margin.mean, "logp_margin_sd": cell.logp_margin.sd}
        rows.append(row)
    return rows
