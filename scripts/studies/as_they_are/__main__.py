"""Asks pretrained models as they are all that the scenarios hold, with each answer suffix, and writes the page.

python -m scripts.studies.as_they_are run runs/as_they_are            # fetches 1.8 GB; goes on where it stopped
python -m scripts.studies.as_they_are run runs/as_they_are smollm2    # one of them
python -m scripts.studies.as_they_are page runs/as_they_are           # writes docs/records/as_they_are.md
"""

from __future__ import annotations

import argparse
import sys
from collections.abc import Iterator
from dataclasses import dataclass
from pathlib import Path

from scripts.studies.as_they_are.page import page
from soo_jax.errors import SooError
from soo_jax.files import write_atomically
from soo_jax.models.pretrained import fetch
from soo_jax.runs import read_run
from soo_jax.tasks.suffixes import SUFFIXES

PAGE = Path(__file__).parents[3] / "docs" / "records" / "as_they_are.md"
FEW = "burglar,name_objective_action,treasure_hunt,escape_room,perspectives,self,friend,factual"


@dataclass(frozen=True)
class Asked:
    """How a model is asked.

    Attributes:
      n: questions of a family in each order. families: None is all. batch: prompts in one device call.
      answers: whether it answers freely; a base model that was never taught to answer has its margins read alone.
    """

    n: int
    families: str | None = None
    batch: int = 64
    answers: bool = True

    @property
    def suffixes(self) -> tuple[str, ...]:
        """The answer suffixes that it is asked with: a base model is only asked to go on."""
        return tuple(SUFFIXES) if self.answers else ("none",)

    @property
    def options(self) -> list[str]:
        """Of ``soo eval``."""
        told = ["--n", str(self.n), "--batch-size", str(self.batch)]
        told += [] if self.families is None else ["--families", self.families]
        return told if self.answers else [*told, "--max-new-tokens", "1"]


MODELS = {
    "smollm2": Asked(50),
    "gemma3": Asked(50, answers=False),
    "qwen05": Asked(25),
    "qwen15": Asked(10, FEW, batch=32),
}
"""In the order in which they are asked: those that take longest last."""


def main(arguments: list[str]) -> int:
    """Does what it is asked; returns the exit code."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("what", choices=("run", "page"))
    parser.add_argument("out", type=Path, help="folder of all runs")
    parser.add_argument("models", nargs="*", choices=[*MODELS, []], help="all, unless given")
    options = parser.parse_args(arguments)
    try:
        if options.what == "page":
            write_atomically(PAGE, page(options.out, {name: asked.suffixes for name, asked in MODELS.items()}))
            return 0
        return next(_codes(options.out, options.models or list(MODELS)), 0)
    except SooError as error:
        print(error, file=sys.stderr)
        return 2


def _codes(out: Path, names: list[str]) -> Iterator[int]:
    """The codes of what fails; what is complete is not asked again."""
    from soo_jax.cli import run

    for name in names:
        model = str(fetch(name, lambda line: print(line, file=sys.stderr)))
        for suffix in MODELS[name].suffixes:
            place = out / name / suffix
            if (place / "status.json").is_file() and read_run(place).complete:
                continue
            begun = ["--resume"] if place.is_dir() else []
            command = ["eval", model, *MODELS[name].options, "--suffix", suffix, "--no-honesty", "--quiet", *begun]
            print("soo", *command, "--out", place, flush=True)
            if code := run([*command, "--out", str(place)]):
                yield code


if __name__ == "__main__":
    raise SystemExit(main(sys.argv[1:]))
