"""``soo study``: experiments over several models, each resumable."""

from __future__ import annotations

import sys
from dataclasses import replace
from pathlib import Path
from typing import Annotated

import typer

from soo_jax.errors import SooError

study = typer.Typer(help="Experiments over several models.", rich_markup_mode=None, pretty_exceptions_enable=False)


@study.callback()
def _root() -> None:
    """Keeps ``organism`` a command of its own while it is the only one."""


@study.command()
def organism(
    models: Annotated[
        list[str] | None, typer.Argument(help="Folders of organisms, or 'organism' for the shipped one (default).")
    ] = None,
    out: Annotated[Path, typer.Option(help="Folder to write; an earlier study in it goes on.")] = Path("runs/study"),
    close: Annotated[
        list[str] | None,
        typer.Option(help="Name of a model that also gets the parts below; may be repeated."),
    ] = None,
    part: Annotated[
        list[str] | None,
        typer.Option(help="What those get: controls, variations, recipe; may be repeated. Default: all."),
    ] = None,
    plain: Annotated[bool, typer.Option("--plain", help="Leave out the slow trials with the self side held.")] = False,
    quiet: Annotated[bool, typer.Option("--quiet", help="No lines about parts that are done.")] = False,
    quick: Annotated[bool, typer.Option("--quick", help="A few steps of everything: a smoke test.")] = False,
) -> None:
    """Which organisms does SOO make honest, at which layer, and would anything else do the same?"""
    if out.exists() and not out.is_dir():
        raise SooError(f"{out}: is a file where a folder is needed; choose another name")
    from soo_jax.cli.app import _start

    soo = _start()
    from soo_jax.llm.study.run import PARTS
    from soo_jax.llm.study.run import study as run_study
    from soo_jax.llm.study.sweep import QUICK, Scale
    from soo_jax.report.study import write_study

    loaded = {}
    for model in models or ["organism"]:
        lm = soo.load(model)
        if lm.name in loaded:
            raise SooError(f"{model}: there is already an organism named {lm.name}; rename one of the folders")
        loaded[lm.name] = lm
    say = (lambda line: None) if quiet else (lambda line: print(line, file=sys.stderr))
    scale = QUICK if quick else Scale()
    scale = replace(scale, held_layers=0) if plain else scale
    found = run_study(loaded, out, scale, tuple(close or ()), tuple(part or PARTS), say)
    for path in write_study(found, out):
        print(path)
