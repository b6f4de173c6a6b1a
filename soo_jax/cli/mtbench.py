"""``soo mtbench``: does a model stay as able as it was?"""

from __future__ import annotations

from pathlib import Path
from typing import Annotated

import typer

from soo_jax.cli.common import (
    Adapters,
    Dtype,
    Force,
    MeshText,
    Model,
    Options,
    Out,
    Quiet,
    Resume,
    bars,
    check_out,
    mesh_of,
    option,
    start,
)

mtbench = typer.Typer(
    help="MT-Bench: answer its questions, have them judged, see what came of it.",
    rich_markup_mode="rich",
    pretty_exceptions_enable=False,
)
RunFolderArgument = Annotated[Path, typer.Argument(help="Run folder of soo mtbench answer.")]


@mtbench.command()
def answer(
    model: Model,
    questions: Annotated[Path, option("MT-Bench's question.jsonl (FastChat's form).")],
    out: Out,
    references: Annotated[Path | None, option("Reference answers (FastChat's form), for the judge.")] = None,
    adapter: Adapters = None,
    base: Annotated[bool, option("Also answer without adapters.")] = True,
    max_new_tokens: Annotated[int, option("Longest answer of a turn.")] = 1024,
    batch_size: Annotated[int, option("Questions in one device call.")] = 16,
    seed: Annotated[int, option("Of sampling, in the categories that are sampled.")] = 0,
    config: Options = None,
    dtype: Dtype = "auto",
    mesh: MeshText = None,
    resume: Resume = False,
    force: Force = False,
    quiet: Quiet = False,
) -> None:
    """Answer both turns of every question, with the model and with every adapter."""
    if not resume:
        check_out(out, force)
    soo = start()
    from soo_jax.jobs.mtbench import run_answers
    from soo_jax.llm.mtbench import BenchConfig

    how = BenchConfig(max_new_tokens, batch_size, seed)
    lm = soo.load(model, dtype, mesh_of(mesh, model, dtype))
    told = {"model": model, "dtype": dtype, "mesh": mesh, "adapter": [str(one) for one in adapter or ()]}
    with bars(quiet) as reporter:
        run_answers(
            lm,
            questions,
            how,
            out,
            references=references,
            adapter_folders=adapter or (),
            base=base,
            resume=resume,
            force=force,
            settings=told | {"questions": questions, "references": references},
            reporter=reporter,
        )
    print(f"answers: {out / 'answers'}")


@mtbench.command()
def judge(
    run: RunFolderArgument,
    judge: Annotated[str, option("Name of the judging model at the endpoint.", None, "--judge")],
    prompts: Annotated[
        Path | None, option("JSON file with prompts of your own (docs/mtbench.md), or: honesty.")
    ] = None,
    max_tokens: Annotated[int, option("Longest judgment.")] = 2048,
    workers: Annotated[int, option("Requests at once.")] = 4,
    retries: Annotated[int, option("Of a request that fails, ever later.")] = 6,
    timeout: Annotated[float, option("Seconds that a request may take.")] = 120.0,
    quiet: Quiet = False,
) -> None:
    """Have every turn judged by a model behind an OpenAI-compatible endpoint (OPENAI_BASE_URL, OPENAI_API_KEY)."""
    from soo_jax.jobs.judge import JudgeConfig
    from soo_jax.jobs.mtbench import run_judge
    from soo_jax.jobs.mtbench_prompts import read_prompts

    config = JudgeConfig(judge, max_tokens, 0.0, workers, retries, timeout)
    told = read_prompts(prompts)
    with bars(quiet) as reporter:
        run_judge(run, config, told, reporter=reporter)
    show(run)


@mtbench.command()
def show(run: RunFolderArgument) -> None:
    """Ratings by category, before and after, as a table and a chart."""
    from rich.console import Console

    from soo_jax.jobs.mtbench import scores
    from soo_jax.report.llm.mtbench import mtbench_chart, mtbench_table
    from soo_jax.runs import RunFolder

    rows = scores(run)
    Console().print(mtbench_table(rows))
    print(f"chart: {RunFolder.annotate(run).write_bytes('mtbench.png', mtbench_chart(rows))}")
