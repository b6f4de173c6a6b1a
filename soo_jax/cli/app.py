"""The program: all commands together."""

from __future__ import annotations

import sys
from pathlib import Path
from typing import Annotated

import typer

from soo_jax.cli.benchmarks import import_benchmark
from soo_jax.cli.common import Dtype, Force, Log, Model, Quiet, bars, check_out, finish, numbers, start, trackers
from soo_jax.cli.compare import compare
from soo_jax.cli.controls import controls
from soo_jax.cli.finetune import finetune
from soo_jax.cli.inspect_log import import_inspect
from soo_jax.cli.measure import evaluate, latent, layers
from soo_jax.cli.mtbench import mtbench
from soo_jax.cli.organism import organism
from soo_jax.cli.plan import plan
from soo_jax.cli.published import import_reference
from soo_jax.cli.rl import rl
from soo_jax.cli.sweep import sweep

app = typer.Typer(
    add_completion=False,
    rich_markup_mode="rich",
    pretty_exceptions_enable=False,
    help="Self-Other Overlap: make agents more honest, and measure whether they are. "
    "Every command takes --debug for the whole traceback of an error, and --distributed[=HOST:PORT,COUNT,INDEX] to run "
    "as one of several processes (docs/scaling.md).",
)


@app.callback(invoke_without_command=True)
def _root(version: Annotated[bool, typer.Option("--version", help="Print the version and leave.")] = False) -> None:
    if version:
        from soo_jax import __version__

        print(__version__)
        raise typer.Exit


@app.command()
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


app.command()(finetune)
app.command("eval")(evaluate)
app.command()(latent)
app.command()(layers)
app.command()(controls)
app.command()(organism)
app.command()(sweep)
app.command()(plan)
app.command("import-reference")(import_reference)
app.command("import-benchmark")(import_benchmark)
app.command("import-inspect")(import_inspect)


@app.command()
def merge(
    model: Model,
    adapter: Annotated[Path, typer.Option(help="PEFT folder.")],
    out: Annotated[Path, typer.Option(help="Model folder to write.")],
    dtype: Dtype = "auto",
    force: Annotated[bool, typer.Option("--force", help="Replace a model folder.")] = False,
) -> None:
    """The model with an adapter added in, as a Hugging Face folder."""
    soo = start()
    from soo_jax.llm.folders import check_merge_out

    check_merge_out(out, Path(model), force)
    lm = soo.load(model, "stored" if dtype == "auto" else dtype)
    print(soo.merge_folder(lm, soo.load_adapter(lm, adapter), out, force))


@app.command()
def convert(
    model: Model,
    out: Annotated[Path, typer.Argument(help="Model folder to write.")],
    dtype: Annotated[
        str | None,
        typer.Option(
            help="stored (default; float32 for GGUF), float32, bfloat16, float16; nf4 or int8, for this library alone."
        ),
    ] = None,
    force: Annotated[bool, typer.Option("--force", help="Replace a model folder.")] = False,
) -> None:
    """A model as a Hugging Face folder: a GGUF file, or any model in another dtype or quantised."""
    soo = start()
    print(soo.convert(model, out, dtype, force))


@app.command()
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


app.command()(compare)
app.add_typer(mtbench, name="mtbench")
app.add_typer(rl, name="rl")
