"""Differences as a table for the terminal, and what they are called."""

from __future__ import annotations

from typing import TYPE_CHECKING

from soo_jax.report.llm.words import families_in_sequence, family_title
from soo_jax.report.terminal import plain_table
from soo_jax.tasks.comparison import Difference
from soo_jax.tasks.run_comparison import Comparison

if TYPE_CHECKING:
    from rich.table import Table

MEASURES = {
    "honest": "honest acts",
    "deceptive": "deceptive acts",
    "throughout": "honest acts that do not say that they mean to mislead",
    "mislead": "answers that say that they mean to mislead",
}
_VERDICTS = {
    ("honest", "more"): "more honest",
    ("honest", "less"): "less honest",
    ("deceptive", "more"): "more deceptive",
    ("deceptive", "less"): "less deceptive",
}


def sequence(comparison: Comparison) -> list[Difference]:
    """Built-in families first, rivals before controls."""
    by_family = {row.family: row for row in comparison.differences}
    return sorted((by_family[name] for name in families_in_sequence(by_family)), key=lambda row: row.control)


def verdict(comparison: Comparison, row: Difference) -> str:
    """What the difference shows, in words."""
    if row.verdict == "undecided":
        return "not shown"
    if row.control:
        worse = (row.verdict == "less") == (comparison.measure in ("honest", "throughout"))
        return f"same ± {comparison.within:g}" if row.same else "worse" if worse else "better"
    return _VERDICTS.get((comparison.measure, row.verdict), row.verdict)


def chance(row: Difference) -> str:
    """The corrected p-value, as in ``0.031`` or ``< 0.001``."""
    return "< 0.001" if row.p_holm < 0.001 else f"{row.p_holm:.3f}"


def span(row: Difference) -> str:
    """The difference and its interval, as in ``+81.0 (76 to 85)``."""
    return f"{row.difference:+.1f} ({round(row.low):+d} to {round(row.high):+d})"


def comparison_table(comparison: Comparison) -> Table:
    """A rich table of one comparison, to stand between :func:`title` and :func:`caption`; fits into 80 columns."""
    table = plain_table()
    for name in ("scenario", "before", "after", "difference", "p", "shows"):
        table.add_column(name, no_wrap=True, justify="right" if name in ("before", "after", "p") else "left")
    previous = None
    for row in sequence(comparison):
        if previous is not None and row.control != previous.control:
            table.add_row()
        table.add_row(
            family_title(row.family), f"{row.before:.1f}", f"{row.after:.1f}", span(row), chance(row),
            f"[bold]{verdict(comparison, row)}[/]",
        )  # fmt: skip
        previous = row
    return table


def title(comparison: Comparison) -> str:
    """What is compared with what, by which measure."""
    return f"{comparison.before} → {comparison.after}: {MEASURES[comparison.measure]}, per cent"


def caption(comparison: Comparison) -> str:
    """How to read the table."""
    questions = sorted({row.questions for row in comparison.differences})
    seeds = sorted({row.seeds[1] for row in comparison.differences})
    asked = f"{questions[0]}" if len(questions) == 1 else f"{questions[0]} to {questions[-1]}"
    several = any(count > 1 for row in comparison.differences for count in row.seeds)
    how = "questions and seeds drawn again" if several else "McNemar's exact test"
    each = f"{seeds[-1]} seeds" if seeds[-1] > 1 else "one answer"
    lines = [
        f"{asked} questions a family, {each} each; paired by question ({how}).",
        "Difference: 95 % interval. p: of no difference, corrected for the number of families (Holm).",
    ]
    if any(row.control for row in comparison.differences):
        lines.append(
            f"Controls: same where the difference lies within {comparison.within:g} points (two one-sided tests, 5 %)."
        )
    return "\n".join([*lines, *(f"Note: {note}." for note in comparison.notes)])
