"""The results of RL runs as a table: for the terminal, and as cells for the page."""

from __future__ import annotations

from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass
from typing import TYPE_CHECKING

from soo_jax.report.rl.words import (
    BEHAVIOUR,
    GROUPS,
    METRICS,
    condition_title,
    group,
    in_sequence,
    metric,
    two_lines,
)
from soo_jax.rl.statistics import Summary, aggregate

if TYPE_CHECKING:
    from rich.table import Table

    from soo_jax.runs import Run

TERMINAL = {
    "trapped": ("red\ntrapped", 2),
    "red_ever_at_goal": ("red at\ngoal", 2),
    "blue_at_goal": ("blue at\ngoal", 2),
    "deceptive_rate": ("deceptive\nrate", 2),
    "soo_log_untrapped": ("log SOO\nred free", 1),
    "soo_relative_untrapped": ("rel. SOO\nred free", 2),
    "red_decoded": ("red\ndecoded", 2),
}
"""What fits the terminal: metric -> (heading, digits)."""

MOST = 6
"""Columns that a table of conditions has room for."""
Cells = Mapping[tuple[str, str], Summary]


def main_metrics(measured: Iterable[str]) -> tuple[str, ...]:
    """The metrics that are shown of every agent: of Physical Deception those of ``TERMINAL``, of other games what they
    say of behaviour first, then overlap, then what the game calls its own, as far as there is room.
    """
    measured = tuple(dict.fromkeys(measured))
    if "trapped" in measured or not measured:
        return tuple(name for name in TERMINAL if name in measured) or tuple(TERMINAL)
    known = [name for name in BEHAVIOUR if name in measured][: MOST - 2]
    known += [name for name in ("soo_log", "soo_relative") if name in measured]
    own = [name for name in measured if name not in METRICS and not name.startswith(("soo", "activation"))]
    return tuple(dict.fromkeys([*known, *own]))[:MOST]


def _heading(name: str) -> tuple[str, int]:
    return TERMINAL.get(name) or (two_lines(metric(name).title), min(metric(name).digits, 2))


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


def lines(cells: Cells, metrics: Sequence[str], change: bool = False) -> list[Line]:
    """One line per condition that has any of the metrics, group by group.

    Args:
      change: the values are changes, so that signs are shown, and fractions may be negative.
    """
    found, previous = [], ""
    for condition in in_sequence(condition for condition, name in cells if name in metrics):
        own = [cells.get((condition, name)) for name in metrics]
        agents = max(summary.n + summary.missing for summary in own if summary)
        texts = [cell(summary, name, change) if summary else None for summary, name in zip(own, metrics, strict=True)]
        heading = GROUPS[group(condition)] if group(condition) != previous else ""
        found.append(Line(condition_title(condition), heading, agents, texts))
        previous = group(condition)
    return found


def cell(found: Summary, name: str, change: bool = False) -> Cell:
    """A summary in words, spread and interval written as the mean is; intervals end where the metric does."""
    if not found.n:
        return Cell("–", "", "", False, found.missing)
    about = metric(name)
    shape = _shape(found.mean, name)
    signed = f"+{shape}" if change else shape
    mean, sd = f"{found.mean:{signed}}", "" if found.sd is None else f"{found.sd:{shape}}"
    if found.low is None:
        return Cell(mean, sd, "", False, found.missing)
    low, high = found.low, found.high
    if not change:
        low, high = max(low, about.least), min(high, about.most)
    return Cell(mean, sd, f"{low:{signed}} to {high:{signed}}", found.low * found.high > 0, found.missing)


def number(value: float | None, name: str) -> str:
    """A single value of a metric; a dash where there was nothing to measure."""
    return "–" if value is None else f"{value:{_shape(value, name)}}"


def _shape(value: float, name: str) -> str:
    """Fixed digits after the point, or powers of ten where they would show nothing of the value."""
    about = metric(name)
    tiny = about.any_scale and 0 < abs(value) < 0.5 * 10**-about.digits
    return ".1e" if tiny else f"z.{about.digits}f"  # z: no minus before a zero


def rl_table(runs: Iterable[Run]) -> Table:
    """A rich table, one line per condition: mean ± sd over agents. It fits into 100 columns."""
    from rich.table import Table

    runs = list(runs)
    title = "Mean ± sd over agents" + (f": {runs[0].path.name}" if len(runs) == 1 else "")
    table = Table(title=title, caption=_caption(runs), title_justify="left", caption_justify="left", box=None,
                  padding=(0, 1, 0, 0), pad_edge=False, header_style="bold")  # fmt: skip
    table.add_column("\ncondition", min_width=14, max_width=25)
    found = [aggregate(run.rows) for run in runs]
    columns = {name: _heading(name) for name in main_metrics(name for cells in found for _, name in cells)}
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


def _caption(runs: Sequence[Run]) -> str:
    caption = "Intervals: the report."
    if any(run.config.get("game", "physical_deception") == "physical_deception" for run in runs):
        caption = f"Fractions of episodes (red) or steps (blue, deceptive); decoded: R² of red's place. {caption}"
    for run in runs:
        if not run.complete:
            caption = f"INCOMPLETE RUN ({run.state}): {run.path.name}\n" + caption
    return caption
