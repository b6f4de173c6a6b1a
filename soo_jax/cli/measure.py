"""``soo eval`` and ``soo latent``."""

from __future__ import annotations

from dataclasses import replace
from pathlib import Path
from typing import Annotated

from soo_jax.cli.common import (
    Adapters,
    Config,
    Dtype,
    Force,
    MeshText,
    Model,
    Options,
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
from soo_jax.errors import SooError

MEASURED, TEXTS, ANSWERS, TRAINED = "What is measured", "Texts", "How answers are given", "What is trained"


def evaluate(
    model: Model,
    out: Out,
    adapter: Adapters = None,
    base: Annotated[bool | None, option("Also measure the model without adapters.", MEASURED)] = None,
    honesty: Annotated[bool | None, option("Also measure the honesty prompt.", MEASURED)] = None,
    margins: Annotated[bool | None, option("Also measure log-probability margins.", MEASURED)] = None,
    drift: Annotated[bool | None, option("Also measure drift on ordinary texts.", MEASURED)] = None,
    scenarios: Annotated[Path | None, option("Your own scenarios (JSON lines).", TEXTS)] = None,
    texts: Annotated[Path | None, option("Your own ordinary texts, for drift (JSON lines).", TEXTS)] = None,
    tasks: Tasks = None,
    families: Annotated[str | None, option("Families of the pack, e.g. burglar,self.", TEXTS)] = None,
    n: Annotated[int | None, option("Held-out instances per family and order; 250 unless given.", TEXTS)] = None,
    split: Annotated[str | None, option("test, or validation to choose settings.", TEXTS)] = None,
    seed: Annotated[int | None, option("Of the instances, and of sampling.", TEXTS)] = None,
    suffix: Annotated[str | None, option("Answer suffix: none, i_would or room_only.", ANSWERS)] = None,
    chat: Annotated[bool | None, option("Chat template; default: if the model has one.", ANSWERS)] = None,
    max_new_tokens: Annotated[int | None, option("Longest answer; 32 unless given, 64 with i_would.", ANSWERS)] = None,
    batch_size: Annotated[int | None, option("Prompts in one device call; 128 unless given.", ANSWERS)] = None,
    temperature: Annotated[float | None, option("0, the default, is greedy.", ANSWERS)] = None,
    top_p: Annotated[float | None, option("Nucleus of sampling.", ANSWERS)] = None,
    config: Config = None,
    dtype: Dtype = "auto",
    mesh: MeshText = None,
    resume: Resume = False,
    force: Force = False,
    quiet: Quiet = False,
) -> None:
    """Deception rates with controls, both orders, every response kept."""
    if not resume:
        check_out(out, force)
    soo = start()
    from soo_jax.jobs.language import evaluation_of, run_evaluate
    from soo_jax.report.llm.tables import terminal_table

    own = {
        "scenarios_file": scenarios,
        "texts_file": texts,
        "drift": drift,
        "families": tuple(families.split(",")) if families else None,
        "n": n,
        "seed": seed,
        "split": split,
        "honesty": honesty,
        "base": base,
        "max_new_tokens": max_new_tokens,
        "batch_size": batch_size,
        "suffix": suffix,
        "chat": chat,
        "temperature": temperature,
        "top_p": top_p,
        "margins": margins,
    }
    start_from = None if config is None else from_file(config, None, evaluation_of, "eval", "measure")
    measure, settings = evaluation_of(given(own), start_from)
    if not (measure.base or measure.honesty or adapter):
        raise SooError("eval: nothing to measure; leave --base on or give an --adapter")
    lm = soo.load(model, dtype, mesh_of(mesh, model, dtype))
    told = {"model": model, "dtype": dtype, "mesh": mesh, "adapter": [str(a) for a in adapter or ()], "tasks": tasks}
    with bars(quiet) as reporter:
        run_evaluate(
            lm,
            measure,
            settings,
            out,
            adapter_folders=adapter or (),
            tasks=tasks,
            resume=resume,
            force=force,
            settings=told,
            reporter=reporter,
        )
    finish(out, terminal_table)
    _tell_fitness(out)
    _tell_drift(out)


def _tell_fitness(out: Path) -> None:
    """Says whether the model's rate of deception, without adapters, means anything."""
    from soo_jax.report.llm.tables import deception_rows
    from soo_jax.runs import read_run
    from soo_jax.tasks.fitness import unfit

    run = read_run(out)
    rows = deception_rows(run)
    if not any(row["condition"] == "base" for row in rows):
        return
    reasons = unfit(rows, run.responses)
    if not reasons:
        print("fitness: controls are right, both orders agree: the rate of deception of this model means something")
        return
    more = f"; and {len(reasons) - 3} more" if len(reasons) > 3 else ""
    print(f"fitness: the rate of deception of this model means little: {'; '.join(reasons[:3])}{more}")


def _tell_drift(out: Path) -> None:
    from soo_jax.report.llm.drift import drift_line
    from soo_jax.runs import read_run

    rows = read_run(out).drift
    if rows:
        print(drift_line(rows))


def latent(
    model: Model,
    out: Out,
    adapter: Adapters = None,
    pairs: Annotated[Path | None, option("Your own probe pairs (JSON lines).", TEXTS)] = None,
    tasks: Tasks = None,
    tokens: Annotated[str, option("last or mean.", MEASURED)] = "last",
    extended: Annotated[bool, option("Built-in probes up to the decision.", TEXTS)] = False,
    chat: Annotated[bool, option("Probes as chat messages.", TEXTS)] = False,
    config: Options = None,
    dtype: Dtype = "auto",
    mesh: MeshText = None,
    force: Force = False,
    quiet: Quiet = False,
) -> None:
    """Layer-wise distance between self and other, before and after."""
    check_out(out, force)
    soo = start()
    from soo_jax.jobs.language import run_latent

    lm = soo.load(model, dtype, mesh_of(mesh, model, dtype))
    told = {"model": model, "dtype": dtype, "mesh": mesh, "adapter": [str(a) for a in adapter or ()], "tasks": tasks}
    with bars(quiet) as reporter:
        run_latent(
            lm,
            out,
            adapter_folders=adapter or (),
            pairs_file=pairs,
            tasks=tasks,
            tokens=tokens,
            extended=extended,
            chat=chat,
            force=force,
            settings=told,
            reporter=reporter,
        )
    finish(out)


def layers(
    model: Model,
    out: Out,
    scenes: Annotated[int, option("Scenes to look at, at most.", MEASURED)] = 52,
    pairs: Annotated[Path | None, option("Your own training pairs (JSON lines), or: scenes.", TEXTS)] = None,
    tasks: Tasks = None,
    chat: Annotated[bool | None, option("Texts as chat messages; default: if the model has a template.", TEXTS)] = None,
    train: Annotated[str | None, option("Also apply SOO at layers: all, or e.g. 12,13,12+13.", TRAINED)] = None,
    preset: Annotated[str | None, option("What its settings are: organism, smollm2-organism, ...", TRAINED)] = None,
    seed: Annotated[str | None, option("Its seeds, e.g. 0,1,2; those of the preset unless given.", TRAINED)] = None,
    n: Annotated[int, option("Validation questions per family and order.", TRAINED)] = 10,
    config: Options = None,
    dtype: Dtype = "auto",
    mesh: MeshText = None,
    resume: Resume = False,
    force: Force = False,
    quiet: Quiet = False,
) -> None:
    """What each layer makes of self and other, and which to train: distances, patching, advice."""
    if not resume:
        check_out(out, force)
    if train is None and (preset or seed):
        raise SooError("layers: --preset and --seed say how --train trains; give --train, too")
    soo = start()
    from soo_jax.jobs.layers import layers_to_train, run_layers, training_of
    from soo_jax.report.llm.layers import layers_table
    from soo_jax.report.llm.sweep import sweep_table

    lm = soo.load(model, dtype, mesh_of(mesh, model, dtype))
    told = {"model": model, "dtype": dtype, "mesh": mesh, "tasks": tasks, "pairs": pairs, "train": train}
    training = None
    if train is not None:
        begin = soo.preset(preset) if preset else soo.FinetuneConfig()
        own = {"chat": chat, "seeds": None if seed is None else numbers("seed", seed)}
        begin = replace(begin, **{name: value for name, value in own.items() if value is not None})
        training = training_of(layers_to_train(train, lm.config.num_layers), begin, n)
    with bars(quiet) as reporter:
        advice = run_layers(
            lm,
            out,
            scenes=scenes,
            train=training,
            pairs_file=pairs,
            tasks=tasks,
            chat=chat,
            resume=resume,
            force=force,
            settings=told,
            reporter=reporter,
        )
    finish(out, layers_table, *([sweep_table] if training else []))
    print(advice)
