"""Differences between agents as a table for the terminal."""

from __future__ import annotations

from typing import TYPE_CHECKING

from soo_jax.report.rl.words import metric
from soo_jax.rl.comparison import Difference
from soo_jax.rl.run_comparison import Comparison

if TYPE_CHECKING:
    from rich.table import Table


def title(comparison: Comparison) -> str:
    """What is compared with what."""
    return f"{comparison.before} → {comparison.after}"


def comparison_table(comparison: Comparison) -> Table:
    """A rich table of one comparison, to stand between :func:`title` and :func:`caption`."""
    from rich.table import Table

    table = Table(header_style="bold", box=None, padding=(0, 1, 0, 0), pad_edge=False)
    for name in ("measure", "before", "after", "difference", "d", "p", "shows"):
        table.add_column(name, no_wrap=True, justify="right" if name in ("before", "after", "d", "p") else "left")
    for control in (False, True):
        rows = [row for row in comparison.differences if row.control is control]
        if control and rows and len(rows) < len(comparison.differences):
            table.add_row()
        for row in rows:
            table.add_row(*_cells(comparison, row))
    return table


def _cells(comparison: Comparison, row: Difference) -> list[str]:
    shown = metric(row.metric, comparison.words)
    shape = f"z.{min(shown.digits, 2)}f"
    span = "" if row.low is None else f" ({row.low:+{shape}} to {row.high:+{shape}})"
    return [
        shown.title,
        f"{row.before:{shape}}",
        f"{row.after:{shape}}",
        f"{row.difference:+{shape}}{span}",
        "" if row.effect is None else f"{row.effect:+.1f}",
        "< 0.001" if row.p_holm < 0.001 else f"{row.p_holm:.3f}",
        f"[bold]{verdict(comparison, row)}[/]",
    ]


def verdict(comparison: Comparison, row: Difference) -> str:
    """What the difference shows, in words."""
    words = {"undecided": "not shown", "same": f"same ± {comparison.within / 100:g}"}
    return words.get(row.verdict, row.verdict)


def caption(comparison: Comparison) -> str:
    """How to read the table."""
    rows, opponent = comparison.differences, comparison.words.opponent
    agents, reds = max(row.agents for row in rows), max(row.reds for row in rows)
    again = f"{opponent}s" if reds > 1 else "agents"
    lines = [
        f"{agents} agents, {reds} {opponent}{'s' * (reds > 1)}; paired by {opponent} and seed.",
        f"Difference: 95 % interval, {again} drawn again. d: over the spread of agents' differences.",
        f"p: of no difference (t over {again}), corrected for the number of measures (Holm).",
    ]
    if any(row.control for row in rows):
        lines.append(
            f"What is to be kept: same where the difference lies within {comparison.within / 100:g} (two one-sided "
            "tests, 5 %)."
        )
    return "\n".join([*lines, *(f"Note: {note}." for note in comparison.notes)])
