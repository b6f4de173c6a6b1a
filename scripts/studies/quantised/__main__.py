"""Measures models with wide weights, in int8 and in nf4, before and after SOO, and writes the page.

python -m scripts.studies.quantised run runs/quantised          # fetches two models; goes on where it stopped
python -m scripts.studies.quantised run runs/quantised qwen05   # this model alone, as with page
python -m scripts.studies.quantised page runs/quantised         # writes docs/records/quantised.md
"""

from __future__ import annotations

import argparse
import sys
from pathlib import Path

from scripts.studies.quantised.page import page
from scripts.studies.quantised.subjects import SUBJECTS
from soo_jax.cli import run
from soo_jax.errors import SooError
from soo_jax.files import write_atomically
from soo_jax.runs import read_run

PAGE = Path(__file__).parents[3] / "docs" / "records" / "quantised.md"


def main(arguments: list[str]) -> int:
    """Does what it is asked; returns the exit code."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("what", choices=("run", "page"))
    parser.add_argument("out", type=Path, help="folder of all runs")
    parser.add_argument(
        "models", nargs="*", choices=[*SUBJECTS, []], help="those to run or to write anew; all, unless given"
    )
    options = parser.parse_args(arguments)
    try:
        models = options.models or list(SUBJECTS)
        if options.what == "page":
            write_atomically(PAGE, page(options.out, SUBJECTS, models, PAGE.read_text(encoding="utf-8")))
            return 0
        return run_all(options.out, models)
    except SooError as error:
        print(error, file=sys.stderr)
        return 2


def run_all(out: Path, models: list[str]) -> int:
    """Every run of these models with every base; what is complete is not done again. Returns the first bad code."""
    for model in models:
        for base in SUBJECTS[model].bases:
            for place, command in SUBJECTS[model].runs(model, base, out):
                if (place / "status.json").is_file() and read_run(place).complete:
                    continue
                print("soo", *command, flush=True)
                if code := run([*command, "--quiet", "--force"]):
                    return code
    return 0


if __name__ == "__main__":
    sys.exit(main(sys.argv[1:]))
