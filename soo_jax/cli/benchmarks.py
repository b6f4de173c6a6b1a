"""``soo import-benchmark``."""

from __future__ import annotations

import sys
from pathlib import Path
from typing import Annotated

import typer

from soo_jax.cli.common import option
from soo_jax.errors import SooError


def import_benchmark(
    benchmark: Annotated[str, typer.Argument(help="behonest or deceptionbench.")],
    files: Annotated[list[Path], typer.Argument(help="Your copy of its JSON files.")],
    out: Annotated[Path, option("File of JSON lines to write.")],
    field: Annotated[list[str] | None, option("OURS=THEIRS where a field has another name; may be repeated.")] = None,
    control: Annotated[list[str] | None, option("Family in which nobody gains by misleading; may be repeated.")] = None,
    force: Annotated[bool, option("Replace the file.", None, "--force")] = False,
) -> None:
    """A benchmark of others from your own copy: scenarios for soo eval, or questions for soo mtbench (docs/data.md)."""
    from soo_jax.files import write_json_lines
    from soo_jax.tasks.benchmarks import BEHONEST, DECEPTIONBENCH, FIELDS, read_behonest, read_deceptionbench
    from soo_jax.tasks.mtbench import question_row
    from soo_jax.tasks.records import write_scenarios

    if benchmark not in FIELDS:
        raise SooError(f"import-benchmark: {benchmark!r} is unknown; choose {' or '.join(FIELDS)}")
    if control and benchmark != BEHONEST:
        raise SooError(f"--control: only {BEHONEST} has families that could be controls")
    if out.exists() and not force:
        raise SooError(f"{out}: is there already; choose another name, or replace it with --force")
    if benchmark == DECEPTIONBENCH:
        questions, notes = read_deceptionbench(files, field or ())
        write_json_lines(out, map(question_row, questions))
        told = f"questions: {out} ({len(questions)}; soo mtbench answer MODEL --questions {out})"
    else:
        scenarios, notes = read_behonest(files, field or (), control or ())
        write_scenarios(out, scenarios)
        told = f"scenarios: {out} ({len(scenarios)}; soo eval MODEL --scenarios {out} --suffix none)"
    for note in notes:
        print(f"soo: {note}", file=sys.stderr)
    print(told)
