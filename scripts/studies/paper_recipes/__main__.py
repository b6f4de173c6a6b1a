"""Runs the paper's three recipes on real models of their families, as they stand but for the layer; writes the page.

python -m scripts.studies.paper_recipes run runs/recipes runs/real   # runs/real: of scripts.studies.real_models
python -m scripts.studies.paper_recipes page runs/recipes            # writes docs/records/paper_recipes.md
"""

from __future__ import annotations

import argparse
import sys
from collections.abc import Iterator
from dataclasses import dataclass
from pathlib import Path

from scripts.studies.paper_recipes.page import page
from soo_jax.errors import SooError
from soo_jax.files import write_atomically
from soo_jax.llm.organisms import SMOLLM2_ORGANISM
from soo_jax.models.pretrained import fetch
from soo_jax.runs import read_run

PAGE = Path(__file__).parents[3] / "docs" / "records" / "paper_recipes.md"
FEW = "burglar,name_objective_action,treasure_hunt,escape_room,perspectives,self,friend,factual"
ASKED = ("--tasks", "narrow", "--families", FEW, "--max-new-tokens", "16", "--batch-size", "64")


@dataclass(frozen=True)
class Recipe:
    """One preset on one model.

    Attributes:
      title: of the model.
      preset: what is run, with nothing changed but the layer. layer: as deep, in parts of the whole, as the preset has
        it. seeds: of it. asked: options of ``soo eval`` before and after.
      organism: the name under which an organism of ``base`` is loaded. taught: take the one that
        ``scripts.studies.real_models`` made. With neither the base is what is trained.
    """

    title: str
    base: str
    preset: str
    layer: str
    seeds: str
    asked: tuple[str, ...]
    organism: str | None = None
    taught: bool = False


RECIPES = {
    "smollm2-mistral": Recipe(
        "SmolLM2's organism", "smollm2", "paper-mistral", "18", "0,1,2", ("--n", "25", *ASKED), SMOLLM2_ORGANISM
    ),
    "gemma3-gemma2": Recipe(
        "Gemma-3-270M", "gemma3", "paper-gemma2", "8", "0,1,2", ("--n", "25", "--max-new-tokens", "1")
    ),
    "qwen05-calme": Recipe(
        "Qwen 0.5B's organism", "qwen05", "paper-calme", "17", "0,1", ("--n", "10", *ASKED), taught=True
    ),
}
"""The recipes, by the folders of their runs: fine-tuning in ``NAME``, answers in ``NAME-eval``."""


def main(arguments: list[str]) -> int:
    """Does what it is asked; returns the exit code."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("what", choices=("run", "page"))
    parser.add_argument("out", type=Path, help="folder of all runs")
    parser.add_argument("real", type=Path, nargs="?", help="runs of scripts.studies.real_models")
    options = parser.parse_args(arguments)
    try:
        if options.what == "page":
            write_atomically(PAGE, page(options.out, {name: recipe.title for name, recipe in RECIPES.items()}))
            return 0
        return next(_codes(options.out, options.real), 0)
    except SooError as error:
        print(error, file=sys.stderr)
        return 2


def _codes(out: Path, real: Path | None) -> Iterator[int]:
    """The codes of what fails; what is complete is not done again."""
    from soo_jax.cli import run

    for name, recipe in RECIPES.items():
        model = _model(recipe, real)
        told = ["--preset", recipe.preset, "--layer", recipe.layer, "--seed", recipe.seeds, "--tasks", "english"]
        answers = ["eval", model, "--adapter", str(out / name), *recipe.asked, "--no-honesty"]
        for place, command in ((out / name, ["finetune", model, *told]), (out / f"{name}-eval", answers)):
            if (place / "status.json").is_file() and read_run(place).complete:
                continue
            print("soo", *command, "--out", place, flush=True)
            if code := run([*command, "--quiet", "--out", str(place), *(["--resume"] if place.is_dir() else [])]):
                yield code


def _model(recipe: Recipe, real: Path | None) -> str:
    if not recipe.taught:
        return recipe.organism or str(fetch(recipe.base, lambda line: print(line, file=sys.stderr)))
    if real is None:
        raise SooError(f"{recipe.base}: give the folder of the runs of scripts.studies.real_models, which teach it")
    return str(real / recipe.base / "model")


if __name__ == "__main__":
    raise SystemExit(main(sys.argv[1:]))
