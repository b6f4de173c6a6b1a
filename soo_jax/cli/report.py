"""``soo report``."""

from __future__ import annotations

import sys
from pathlib import Path
from typing import Annotated

import typer


def report(
    runs: Annotated[list[Path], typer.Argument(help="Run folders; several are compared.")],
    out: Annotated[Path | None, typer.Option(help="Page to write; default: report.html in the first run.")] = None,
) -> None:
    """Draw a run's report again, or compare several runs."""
    from soo_jax.report.html import write_report
    from soo_jax.runs import read_run

    page = write_report(runs, out)
    for run in map(read_run, runs):
        if not run.complete:
            print(f"soo: {run.path}: this run is incomplete ({run.state})", file=sys.stderr)
    print(page)
