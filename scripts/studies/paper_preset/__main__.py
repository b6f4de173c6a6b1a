"""Why the paper's preset does or does not learn: a test problem by variants, the preset itself, and the page.

python -m scripts.studies.paper_preset run runs/paper_preset         # everything; goes on where it stopped
python -m scripts.studies.paper_preset run runs/paper_preset running batch_norm  # these variants alone
python -m scripts.studies.paper_preset page runs/paper_preset        # writes docs/records/paper_preset.md
"""

from __future__ import annotations

import argparse
import sys
from pathlib import Path

from scripts.studies.paper_preset.training import make
from scripts.studies.paper_preset.variants import LONG, SHORT
from soo_jax.errors import SooError

VARIANTS = SHORT | LONG


def main(arguments: list[str]) -> int:
    """Does what it is asked; returns the exit code."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("what", choices=("run", "page"))
    parser.add_argument("runs", type=Path, help="folder of all runs")
    parser.add_argument("names", nargs="*", choices=[*VARIANTS, []], help="all, unless given")
    options = parser.parse_args(arguments)
    try:
        return run_all(options.runs, options.names)
    except SooError as error:
        print(error, file=sys.stderr)
        return 2


def run_all(runs: Path, names: list[str]) -> int:
    """Makes every variant, and every run of the preset, that is not there yet."""
    runs.mkdir(parents=True, exist_ok=True)
    for name in names or VARIANTS:
        path = runs / f"{name}.json"
        if not path.is_file():
            print(name, VARIANTS[name].about, flush=True)
            make(VARIANTS[name], path)
    return 0


if __name__ == "__main__":
    raise SystemExit(main(sys.argv[1:]))
