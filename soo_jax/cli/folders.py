"""``soo merge`` and ``soo convert``."""

from __future__ import annotations

from pathlib import Path
from typing import Annotated

import typer

from soo_jax.cli.common import Dtype, Model, start


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
