"""``soo import-reference``."""

from __future__ import annotations

import sys
from pathlib import Path
from typing import Annotated

import typer

from soo_jax.cli.common import Force, Out, check_out, finish, start


def import_reference(
    checkout: Annotated[Path, typer.Argument(help="Folder of your checkout of the paper's repository.")],
    out: Out,
    force: Force = False,
) -> None:
    """The paper's published texts as a task pack, and its printed answers judged again as a run."""
    check_out(out, force)
    start()
    from soo_jax.jobs.published import PACK, import_published
    from soo_jax.report.llm.tables import terminal_table

    found = import_published(checkout, out, force=force)
    for note in found.notes:
        print(f"soo: {note}", file=sys.stderr)
    finish(out, *([terminal_table] if found.answers else []))
    count = {
        **{"pairs": len(found.pairs), "probes": len(found.probes)},
        **{k: len(v) for k, v in found.scenarios.items()},
    }
    print(f"task pack: {out / PACK} ({', '.join(f'{n} {name}' for name, n in count.items() if n)})")
