"""The results of RL runs as a table: for the terminal, and as cells for the page."""

from __future__ import annotations

from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass
from typing import TYPE_CHECKING

from soo_jax.report.rl.words import GROUPS, condition_title, group, in_sequence, metric, told, two_lines, words_of
from soo_jax.rl.games.words import Metric, Words
from soo_jax.rl.statistics import Summary, aggregate

if TYPE_CHECKING:
    from rich.table import Table

    from soo_jax.runs import Run

MOST = 6
"""Columns that a table of conditions has room for."""
Cells = Mapping[tuple[str, str], Summary]


def main_metrics(measured: Iterable[str], words: Words) -> tuple[str, ...]:
    """The metrics that are shown of every agent: those that the game gives a heading for the terminal. Where it gives
    none, what agents do first, then overlap, then what nothing is told of, as far as there is room.
    """
    measured = tuple(dict.fromkeys(measured))
    headed = tuple(name for name, shown in (words.behaviour | words.overlap).items() if shown.heading)
    if not measured or set(headed) & set(measured):
        return tuple(name for name in headed if name in measured) or headed
    known = [name for name in words.behaviour if name in measured][: MOST - 2]
    known += [name for name in ("soo_log", "soo_relative") if name in measured]
    own = [name for name in measured if not told(name, words) and not name.startswith(("soo", "activation"))]
    return tuple(dict.fromkeys([*known, *own]))[:MOST]


def _heading(name: str, words: Words) -> tuple[str, int]:
    shown = metric(name, words)
    if shown.heading:
        return two_lines(shown.heading), shown.heading_digits
    return two_lines(shown.title), min(shown.digits, 2)


@dataclass(frozen=True)
class Cell:
    """A summary in words; ``sd`` is empty of a single agent, ``interval`` of too few (``statistics.FEWEST``).

    Attributes:
      clear: whether the interval leaves out zero; of use where the value is a change.
      missing: agents in whom there was nothing to measure, such as an overlap where they never met a self view.
    """

    mean: str
    sd: str
    interval: str
    clear: bool
    missing: int


@dataclass(frozen=True)
class Line:
    """A condition and its cells, None where it was not measured.

    Attributes:
      heading: of the group that begins here, else empty. agents: how many were measured.
    """

    title: str
    heading: str
    agents: int
    cells: list[Cell | None]


def lines(cells: Cells, metrics: Sequence[str], words: Words, change: bool = False) -> list[Line]:
    """One line per condition that has any of the metrics, group by group.

    Args:
      change: the values are changes, so that signs are shown, and fractions may be negative.
    """
    found, previous = [], ""
    for condition in in_sequence(condition for condition, name in cells if name in metrics):
        own = [cells.get((condition, name)) for name in metrics]
        agents = max(summary.n + summary.missing for summary in own if summary)
        texts = [
            cell(summary, metric(name, words), change) if summary else None
            for summary, name in zip(own, metrics, strict=True)
        ]
        heading = GROUPS[group(condition)] if group(condition) != previous else ""
        found.append(Line(condition_title(condition), heading, agents, texts))
        previous = group(condition)
    return found


def cell(found: Summary, about: Metric, change: bool = False) -> Cell:
    """A summary in words, spread and interval written as the mean is; intervals end where the metric does."""
    if not found.n:
        return Cell("–", "", "", False, found.missing)
    shape = _shape(found.mean, about)
    signed = f"+{shape}" if change else shape
    mean, sd = f"{found.mean:{signed}}", "" if found.sd is None else f"{found.sd:{shape}}"
    if found.low is None:
        return Cell(mean, sd, "", False, found.missing)
    low, high = found.low, found.high
    if not change:
        low, high = max(low, about.least), min(high, about.most)
    return Cell(mean, sd, f"{low:{signed}} to {high:{signed}}", found.low * found.high > 0, found.missing)


def number(value: float | None, about: Metric) -> str:
    """A single value of a metric; a dash where there was nothing to measure."""
    return "–" if value is None else f"{value:{_shape(value, about)}}"


def _shape(value: float, about: Metric) -> str:
    """Fixed digits after the point, or powers of ten where they would show nothing of the value."""
    tiny = about.any_scale and 0 < abs(value) < 0.5 * 10**-about.digits
    return ".1e" if tiny else f"z.{about.digits}f"  # z: no minus before a zero


def rl_table(runs: Iterable[Run]) -> Table:
    """A rich table, one line per condition: mean ± sd over agents. It fits into 100 columns."""
    from rich.table import Table

    runs = list(runs)
    words = words_of(*runs)
    title = "Mean ± sd over agents" + (f": {runs[0].path.name}" if len(runs) == 1 else "")
    table = Table(title=title, caption=_caption(runs, words), title_justify="left", caption_justify="left", box=None,
                  padding=(0, 1, 0, 0), pad_edge=False, header_style="bold")  # fmt: skip
    table.add_column("\ncondition", min_width=14, max_width=25)
    found = [aggregate(run.rows) for run in runs]
    columns = {name: _heading(name, words) for name in main_metrics((n for cells in found for _, n in cells), words)}
    for heading, _ in columns.values():
        table.add_column(heading, no_wrap=True)
    for run, cells in zip(runs, found, strict=True):
        if len(runs) > 1:
            table.add_row(f"[bold]{_escaped(run.path.name)}[/]")
        previous = None
        for condition in in_sequence(condition for condition, _ in cells):
            if previous not in (None, group(condition)):
                table.add_row()
            own = [_terminal(cells.get((condition, name)), digits) for name, (_, digits) in columns.items()]
            table.add_row(_escaped(condition_title(condition)), *own)
            previous = group(condition)
    return table


def _terminal(found: Summary | None, digits: int) -> str:
    if found is None:
        return "[dim]-[/]"
    if not found.n:
        return "[dim]–[/]"
    if 0 < abs(found.mean) < 0.5 * 10**-digits:
        return f"{found.mean:.0e}"
    return f"{found.mean:.{digits}f}" + ("" if found.sd is None else f"[dim]±{found.sd:.{digits}f}[/]")


def _escaped(name: str) -> str:
    from rich.markup import escape

    return escape(name)


def _caption(runs: Sequence[Run], words: Words) -> str:
    caption = " ".join(filter(None, [words.caption, "Intervals: the report."]))
    for run in runs:
        if not run.complete:
            caption = f"INCOMPLETE RUN ({run.state}): {run.path.name}\n" + caption
    return caption
