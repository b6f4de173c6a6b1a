"""``soo import-inspect``."""

from __future__ import annotations

import sys
from pathlib import Path
from typing import Annotated

import typer

from soo_jax.cli.common import Force, Out, check_out, finish, option, start


def import_inspect(
    logs: Annotated[list[Path], typer.Argument(help="Logs of inspect eval soo_jax/scenarios; several are one run.")],
    out: Out,
    condition: Annotated[list[str] | None, option("Name of a log's answers in tables; once for each log.")] = None,
    force: Force = False,
) -> None:
    """Answers that inspect_ai has collected, of any model, as a run (docs/bridges.md)."""
    check_out(out, force)
    start()
    from soo_jax.bridges import inspect_log
    from soo_jax.report.llm.tables import terminal_table

    _, notes = inspect_log.import_inspect(logs, out, conditions=condition or (), force=force)
    for note in notes:
        print(f"soo: {note}", file=sys.stderr)
    finish(out, terminal_table)
