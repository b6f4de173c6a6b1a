"""``soo demo``."""

from __future__ import annotations

from pathlib import Path
from typing import Annotated

import typer

from soo_jax.cli.common import Dtype, Force, Log, Quiet, bars, check_out, finish, numbers, start, trackers


def demo(
    model: Annotated[
        str, typer.Argument(help="organism, or smollm2-organism: a real model's (93 MB are fetched at first).")
    ] = "organism",
    out: Annotated[Path, typer.Option(help="Run folder to write.")] = Path("runs/demo"),
    seed: Annotated[str | None, typer.Option(help="Seeds, one adapter each.  [default: 0,1,2,3,4; 0,1,2]")] = None,
    n: Annotated[int | None, typer.Option(help="Held-out instances per family and order.  [default: 100; 10]")] = None,
    dtype: Dtype = "auto",
    log: Log = None,
    force: Force = False,
    quiet: Quiet = False,
    quick: Annotated[bool, typer.Option("--quick", help="Two seeds, few instances and epochs: a smoke test.")] = False,
) -> None:
    """An organism that ships with the library: measure, fine-tune all seeds, measure again, report."""
    check_out(out, force)
    sent_to = trackers(log)
    soo = start()
    from dataclasses import replace

    from soo_jax.jobs.demos import demo_of
    from soo_jax.jobs.language import run_demo, with_quick
    from soo_jax.report.llm.tables import terminal_table

    config, measure, answers = demo_of(model)
    config = replace(config, seeds=config.seeds if seed is None else numbers("seed", seed))
    measure = replace(measure, n=measure.n if n is None else n)
    if quick:
        config, measure = with_quick(config), replace(measure, n=min(measure.n, 4))
    lm = soo.load(model, dtype)
    told = {"model": model, "dtype": dtype, "seed": seed, "n": n, "quick": quick}
    with bars(quiet) as reporter:
        run_demo(lm, config, measure, answers, out, force=force, settings=told, log=sent_to, reporter=reporter)
    finish(out, terminal_table)
