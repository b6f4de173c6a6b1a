"""Makes the deceivers, fine-tunes them at every weight and without sight of red, and writes the page.

python -m scripts.studies.dose run runs/dose    # an hour on 2 CPU cores; goes on where it stopped
python -m scripts.studies.dose page runs/dose   # writes docs/records/dose.md and its picture
"""

from __future__ import annotations

import argparse
import sys
from pathlib import Path

from scripts.studies.agent_runs import run_all
from scripts.studies.dose.page import chart, page
from soo_jax.errors import SooError
from soo_jax.files import write_atomically

DOCS = Path(__file__).parents[3] / "docs"
PAGE, PICTURE = DOCS / "records" / "dose.md", DOCS / "img" / "rl_dose.png"
WEIGHTS = ("0.1", "1", "10", "100", "1000")
HIDDEN = "--world blue_sight=0"
RUNS = {
    "maddpg": "train --preset trusting-red-maddpg --reds 8 --condition deceptive",
    "hidden": "evaluate {runs}/maddpg --hide-red",
    "still": "evaluate {runs}/maddpg --still",
    "more": "finetune {runs}/maddpg --treatment control:more_rl",
    "blind": f"finetune {{runs}}/maddpg --treatment control:more_rl {HIDDEN}",
    **{
        f"dose-{weight}": f"finetune {{runs}}/maddpg --treatment soo,control:stop_self --set soo_weight={weight}"
        for weight in ("10", "100", "1", "1000", "0.1")
    },
    "honest-reward": "finetune {runs}/maddpg --treatment control:more_rl,soo --world deception_bonus=0",
    "flag": "finetune {runs}/maddpg --treatment soo --world other_trap=1",
    "blind-hidden": "evaluate {runs}/blind --hide-red",
    "soo-hidden": "evaluate {runs}/dose-10 --hide-red",
    "strong-hidden": "evaluate {runs}/dose-100 --hide-red",
    "more-hidden": "evaluate {runs}/more --hide-red",
}
"""Folder and command of every run, in their order."""


def main(arguments: list[str]) -> int:
    """Does what it is asked; returns the exit code."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("what", choices=("run", "page"))
    parser.add_argument("runs", type=Path, help="folder of all run folders")
    options = parser.parse_args(arguments)
    try:
        if options.what == "run":
            return run_all(options.runs, RUNS)
        write_atomically(PAGE, page(options.runs, RUNS, WEIGHTS))
        chart(options.runs, WEIGHTS, PICTURE)
        return 0
    except SooError as error:
        print(error, file=sys.stderr)
        return 2


if __name__ == "__main__":
    sys.exit(main(sys.argv[1:]))
