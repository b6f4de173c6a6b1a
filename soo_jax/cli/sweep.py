"""``soo sweep``."""

from __future__ import annotations

from pathlib import Path
from typing import Annotated, Any

from soo_jax.cli.common import (
    RUN,
    Dtype,
    Force,
    Log,
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
    mesh_of,
    option,
    start,
    trackers,
)
from soo_jax.errors import SooError


def sweep(
    model: Model,
    out: Out,
    config: Annotated[Path, option("TOML or JSON file: what is common, varied and asked (docs/sweeps.md).", RUN)],
    preset: Annotated[str | None, option("What settings begin from: organism, paper-mistral, ...", RUN)] = None,
    pairs: Annotated[Path | None, option("Your own pairs (JSON lines), or: scenes.", RUN)] = None,
    texts: Annotated[Path | None, option("Ordinary texts (JSON lines), for terms that read them.", RUN)] = None,
    tasks: Tasks = None,
    keep_adapters: Annotated[bool, option("Also write every adapter.", RUN, "--keep-adapters")] = False,
    stack: Annotated[str | None, option("At most so many adapters at once; auto: as many as fit.", RUN)] = None,
    dtype: Dtype = "auto",
    mesh: MeshText = None,
    log: Log = None,
    resume: Resume = False,
    force: Force = False,
    quiet: Quiet = False,
) -> None:
    """Every combination of settings, each measured in the same way; a map, and the best by a rule."""
    if not resume:
        check_out(out, force)
    sent_to = trackers(log)
    soo = start()
    from soo_jax.jobs.sweep import FILE, run_sweep, sweep_of
    from soo_jax.report.llm.sweep import sweep_table

    most = stack_of(stack)
    begin = soo.preset(preset) if preset else None
    chosen: Any = from_file(config, begin, sweep_of, FILE)
    lm = soo.load(model, dtype, mesh_of(mesh, model, dtype, begin))
    told = {"model": model, "dtype": dtype, "mesh": mesh, "config": config, "preset": preset, "pairs": pairs}
    told |= {"stack": stack} if stack else {}
    with bars(quiet) as reporter:
        run_sweep(
            lm,
            chosen,
            out,
            pairs_file=pairs,
            texts_file=texts,
            tasks=tasks,
            keep=keep_adapters,
            stack=most,
            resume=resume,
            force=force,
            log=sent_to,
            settings=told | {"texts": texts, "tasks": tasks},
            reporter=reporter,
        )
    finish(out, sweep_table)


def stack_of(text: str | None) -> int | str | None:
    """How many adapters are trained at once: a number, ``auto``, or None for all that can be."""
    if text is None or text == "auto":
        return text
    if not text.isdecimal() or int(text) < 1:
        raise SooError(f"stack must be a number of at least 1, or auto, found {text!r}")
    return int(text)
