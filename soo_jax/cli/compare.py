"""``soo compare``."""

from __future__ import annotations

from pathlib import Path
from typing import Annotated

import typer

from soo_jax.cli.common import option

RUNS = (
    "A run, whose conditions are compared with its base (agents: with the deceptive ones); or several, each FOLDER or "
    "FOLDER:CONDITION, with the first."
)
OF = (
    "honest, deceptive, throughout, mislead; default: honest, and throughout where answers contradict "
    "themselves. Of agents: metrics of results.json."
)


def compare(
    runs: Annotated[list[str], typer.Argument(help=RUNS)],
    measure: Annotated[str | None, option(OF)] = None,
    within: Annotated[float, option("Points within which a control counts as the same.")] = 5.0,
    out: Annotated[Path | None, option("JSON file to write, one row a difference.")] = None,
) -> None:
    """Whether answers to the same questions, or agents, differ: paired tests, intervals, equivalence in controls."""
    from rich.console import Console

    from soo_jax.sides import about_agents

    if about_agents(runs):
        from soo_jax.report.rl.comparison import caption, comparison_table, title
        from soo_jax.rl.run_comparison import compare_agents as compared
        from soo_jax.rl.run_comparison import write_comparisons
    else:
        from soo_jax.report.llm.comparison import caption, comparison_table, title
        from soo_jax.tasks.run_comparison import compare_runs as compared
        from soo_jax.tasks.run_comparison import write_comparisons
    found = compared(runs, measure.split(",") if measure else None, within)
    if out is not None:
        write_comparisons(out, found)
    for i, one in enumerate(found):
        if i:
            print()
        print(title(one))
        Console().print(comparison_table(one))
        print(caption(one))
    if out is not None:
        print(f"differences: {out}")
