"""``soo compare``."""

from __future__ import annotations

from pathlib import Path
from typing import Annotated

import typer

from soo_jax.cli.common import option

RUNS = (
    "A run, whose conditions are compared with its base; or several, each FOLDER or FOLDER:CONDITION, with the first."
)
OF = "honest, deceptive, throughout, mislead; default: honest, and throughout where answers contradict themselves."


def compare(
    runs: Annotated[list[str], typer.Argument(help=RUNS)],
    measure: Annotated[str | None, option(OF)] = None,
    within: Annotated[float, option("Points within which a control counts as the same.")] = 5.0,
    out: Annotated[Path | None, option("JSON file to write, one row a difference.")] = None,
) -> None:
    """Whether answers to the same questions differ: paired tests, intervals, equivalence in controls."""
    from rich.console import Console

    from soo_jax.report.llm.comparison import caption, comparison_table, title
    from soo_jax.tasks.run_comparison import compare_runs, write_comparisons

    found = compare_runs(runs, measure.split(",") if measure else None, within)
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
