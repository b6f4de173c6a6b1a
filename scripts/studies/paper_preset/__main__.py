"""Why the paper's preset does or does not learn: a test problem by variants, the preset itself, and the page.

python -m scripts.studies.paper_preset run runs/paper_preset  # 80 minutes on 2 cores; goes on where it stopped
python -m scripts.studies.paper_preset run runs/paper_preset running batch_norm  # these variants alone
python -m scripts.studies.paper_preset page runs/paper_preset        # writes docs/records/paper_preset.md
"""

from __future__ import annotations

import argparse
import json
import sys
from pathlib import Path

from scripts.studies import agent_runs
from scripts.studies.paper_preset.distances import measure, red_alone
from scripts.studies.paper_preset.page import DISTANCES, RED_ALONE, RUNS, images, page
from scripts.studies.paper_preset.training import make
from scripts.studies.paper_preset.variants import LONG, SHORT
from soo_jax.errors import SooError
from soo_jax.files import write_atomically

DOCS = Path(__file__).parents[3] / "docs"
VARIANTS = SHORT | LONG


def main(arguments: list[str]) -> int:
    """Does what it is asked; returns the exit code."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("what", choices=("run", "page"))
    parser.add_argument("runs", type=Path, help="folder of all runs")
    parser.add_argument("names", nargs="*", choices=[*VARIANTS, []], help="all, unless given")
    parser.add_argument("--docs", type=Path, default=DOCS, help="where the page and its pictures go")
    options = parser.parse_args(arguments)
    try:
        if options.what == "run":
            return run_all(options.runs, options.names)
        for name, picture in images(options.runs).items():
            write_atomically(options.docs / "img" / name, picture)
        write_atomically(options.docs / "records" / "paper_preset.md", page(options.runs))
        return 0
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
    if names:
        return 0
    if code := agent_runs.run_all(runs, RUNS):
        return code
    distances = measure([runs / "paper", runs / "paper-soo"])
    write_atomically(runs / DISTANCES, json.dumps(distances) + "\n")
    write_atomically(runs / RED_ALONE, json.dumps(red_alone(runs / "paper")) + "\n")
    return 0


if __name__ == "__main__":
    raise SystemExit(main(sys.argv[1:]))
