"""The program: all commands together."""

from __future__ import annotations

from typing import Annotated

import typer

from soo_jax.cli.benchmarks import import_benchmark
from soo_jax.cli.compare import compare
from soo_jax.cli.controls import controls
from soo_jax.cli.demo import demo
from soo_jax.cli.finetune import finetune
from soo_jax.cli.folders import convert, merge
from soo_jax.cli.inspect_log import import_inspect
from soo_jax.cli.intent import intent
from soo_jax.cli.measure import evaluate, latent, layers
from soo_jax.cli.mtbench import mtbench
from soo_jax.cli.organism import organism
from soo_jax.cli.plan import plan
from soo_jax.cli.published import import_reference
from soo_jax.cli.report import report
from soo_jax.cli.rl import rl
from soo_jax.cli.sweep import sweep

MEASURE = "Measure language models"

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


for panel, commands in {
    "To begin with": {"demo": demo},
    "Train language models": {"finetune": finetune, "sweep": sweep, "organism": organism},
    MEASURE: {"eval": evaluate, "latent": latent, "layers": layers, "controls": controls},
    "Read results": {"report": report, "compare": compare, "intent": intent},
    "Models": {"merge": merge, "convert": convert, "plan": plan},
    "What others have published": {
        "import-reference": import_reference,
        "import-benchmark": import_benchmark,
        "import-inspect": import_inspect,
    },
}.items():
    for name, command in commands.items():
        app.command(name, rich_help_panel=panel)(command)
app.add_typer(mtbench, name="mtbench", rich_help_panel=MEASURE)
app.add_typer(rl, name="rl", rich_help_panel="Agents")
