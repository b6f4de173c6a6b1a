"""Measures both organisms with wide weights, in int8 and in nf4, before and after SOO, and writes the page.

python -m scripts.studies.quantised run runs/quantised    # SmolLM2 is fetched (93 MB); goes on where it stopped
python -m scripts.studies.quantised page runs/quantised   # writes docs/records/quantised.md
"""

from __future__ import annotations

import argparse
import sys
from pathlib import Path

from scripts.studies.quantised.page import page
from soo_jax.cli import run
from soo_jax.errors import SooError
from soo_jax.files import write_atomically
from soo_jax.llm.organisms import SMOLLM2_ORGANISM
from soo_jax.models.lm import ORGANISM
from soo_jax.runs import read_run

PAGE = Path(__file__).parents[3] / "docs" / "records" / "quantised.md"
DTYPES = {"float32": "float32", "int8": "int8:float32", "nf4": "nf4:float32"}
"""How the base is held, by name."""
MODELS = {ORGANISM: ("100", ("float32", "int8", "nf4")), SMOLLM2_ORGANISM: ("5", ("float32", "nf4"))}
"""The organisms, how many questions each is asked of every family in each order, and with which bases."""


def main(arguments: list[str]) -> int:
    """Does what it is asked; returns the exit code."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("what", choices=("run", "page"))
    parser.add_argument("out", type=Path, help="folder of all runs")
    options = parser.parse_args(arguments)
    try:
        if options.what == "page":
            write_atomically(PAGE, page(options.out, {model: held for model, (_, held) in MODELS.items()}))
            return 0
        return run_all(options.out)
    except SooError as error:
        print(error, file=sys.stderr)
        return 2


def run_all(out: Path) -> int:
    """The demo of every organism with every base; what is complete is not done again. Returns the first bad code."""
    for model, (count, held) in MODELS.items():
        for name in held:
            place = out / f"{model}-{name}"
            if (place / "status.json").is_file() and read_run(place).complete:
                continue
            if code := run(
                ["demo", model, "--n", count, "--dtype", DTYPES[name], "--out", str(place), "--quiet", "--force"]
            ):
                return code
    return 0


if __name__ == "__main__":
    sys.exit(main(sys.argv[1:]))
