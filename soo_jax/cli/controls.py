"""``soo controls``."""

from __future__ import annotations

from pathlib import Path
from typing import Annotated

from soo_jax.cli.common import (
    RUN,
    Config,
    Dtype,
    Force,
    MeshText,
    Model,
    Out,
    Quiet,
    Resume,
    Tasks,
    bars,
    check_out,
    finish,
    from_file,
    given,
    mesh_of,
    numbers,
    option,
    start,
)

WHICH, MEASURED = "Which controls", "What is measured"


def controls(
    model: Model,
    out: Out,
    preset: Annotated[str | None, option("organism, paper-mistral, ...", RUN)] = None,
    config: Config = None,
    seed: Annotated[str | None, option("Seeds, one adapter each, e.g. 0,1,2.", RUN)] = None,
    pairs: Annotated[Path | None, option("Your own pairs (JSON lines), or: scenes.", RUN)] = None,
    tasks: Tasks = None,
    turns: Annotated[int, option("Draws of a turn as far as SOO's, in another direction.", WHICH)] = 1,
    examples: Annotated[str, option("Numbers of honest answers to teach; empty: none.", WHICH)] = "4,16,52",
    strengths: Annotated[str, option("Strengths of the steering vector; empty: none.", WHICH)] = "0.5,1,2,4",
    families: Annotated[str | None, option("Families of the pack, e.g. burglar,self.", MEASURED)] = None,
    n: Annotated[int, option("Held-out instances per family and order.", MEASURED)] = 50,
    honesty: Annotated[bool, option("Also measure the honesty prompt.", MEASURED)] = True,
    max_new_tokens: Annotated[int | None, option("Longest answer.", MEASURED)] = None,
    batch_size: Annotated[int, option("Prompts in one device call.", MEASURED)] = 128,
    dtype: Dtype = "auto",
    mesh: MeshText = None,
    resume: Resume = False,
    force: Force = False,
    quiet: Quiet = False,
) -> None:
    """SOO beside everything that might do the same: other pairs, another direction, labels, steering, a request."""
    if not resume:
        check_out(out, force)
    soo = start()
    from soo_jax.jobs.controls import Controls, run_controls
    from soo_jax.jobs.language import Measure
    from soo_jax.llm.config import config_from_dict
    from soo_jax.llm.config import preset as by_name
    from soo_jax.report.llm.controls import controls_table

    settings = by_name(preset) if preset else None
    if config is not None:
        settings = from_file(config, settings, config_from_dict, "finetune")
    settings = config_from_dict(given({"seeds": None if seed is None else numbers("seed", seed)}), settings)
    chosen = Controls(
        turns,
        numbers("examples", examples) if examples else (),
        numbers("strengths", strengths, float) if strengths else (),
    )
    measure = Measure(families=tuple(families.split(",")) if families else None, n=n, honesty=honesty)
    answers = soo.EvalConfig(max_new_tokens=max_new_tokens, batch_size=batch_size, margins=False)
    lm = soo.load(model, dtype, mesh_of(mesh, model, dtype, settings))
    told = {"model": model, "dtype": dtype, "mesh": mesh, "preset": preset, "pairs": pairs, "tasks": tasks}
    with bars(quiet) as reporter:
        run_controls(
            lm,
            settings,
            chosen,
            measure,
            answers,
            out,
            pairs_file=pairs,
            tasks=tasks,
            resume=resume,
            force=force,
            settings=told,
            reporter=reporter,
        )
    finish(out, controls_table)
