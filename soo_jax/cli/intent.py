"""``soo intent``."""

from __future__ import annotations

from pathlib import Path
from typing import Annotated

import typer

from soo_jax.cli.common import Quiet, bars, option


def intent(
    run: Annotated[Path, typer.Argument(help="Run folder with answers, as of soo eval or soo demo.")],
    judge: Annotated[str, option("Name of the judging model at the endpoint.", None, "--judge")],
    max_tokens: Annotated[int, option("Longest judgment.")] = 256,
    workers: Annotated[int, option("Requests at once.")] = 4,
    retries: Annotated[int, option("Of a request that fails, ever later.")] = 6,
    timeout: Annotated[float, option("Seconds that a request may take.")] = 120.0,
    quiet: Quiet = False,
) -> None:
    """Have answers sorted by stated intent, by a model behind an OpenAI-compatible endpoint, beside the rule."""
    from rich.console import Console

    from soo_jax.jobs.intent import TABLE, run_intent
    from soo_jax.jobs.judge import JudgeConfig
    from soo_jax.report.llm.intent import intent_table

    config = JudgeConfig(judge, max_tokens, 0.0, workers, retries, timeout)
    with bars(quiet) as reporter:
        rows = run_intent(run, config, reporter=reporter)
    Console().print(intent_table(rows, judge))
    print(f"agreement: {run / TABLE}")
