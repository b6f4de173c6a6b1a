"""All runs of the study of agents, and the page of their tables.

python -m scripts.studies.physical_deception run runs        # some 70 minutes on 2 cores; goes on where it stopped
python -m scripts.studies.physical_deception page runs       # writes docs/records/agents.md
"""

from __future__ import annotations

import argparse
import sys
from collections.abc import Sequence
from pathlib import Path

from scripts.studies.agent_runs import command, run_all
from scripts.studies.physical_deception.tables import (
    BEHAVIOUR,
    DIFFERENCES,
    OVERLAP,
    blindness,
    detection,
    joined,
    table,
)
from scripts.studies.tables import made
from soo_jax.errors import SooError
from soo_jax.files import write_atomically
from soo_jax.report.rl.words import words_of
from soo_jax.runs import Run, read_run

PAGE = Path(__file__).parents[3] / "docs" / "records" / "agents.md"
_TREATMENTS = "soo,soo:weak,soo:strong,control:more_rl,control:random_pairs,control:stop_self,control:stop_other"
RUNS = {
    "rl": "reproduce",
    "rl-still": "evaluate {runs}/rl --still",
    "rl-wide": "evaluate {runs}/rl --world blue_sight=2",
    "rl-blind": "finetune {runs}/rl --treatment control:more_rl --world blue_sight=0",
    "rl-blind-hidden": "evaluate {runs}/rl-blind --hide-red",
    "rl-flag": "finetune {runs}/rl --treatment soo --world other_trap=1",
    "rl-honest-reward": "finetune {runs}/rl --treatment control:more_rl,soo --world deception_bonus=0",
    "rl64": "train --reds 8",
    "detection": "evaluate {runs}/rl64",
    "signalling": "train --game signalling --reds 2",
    "signalling-soo": f"finetune {{runs}}/signalling --treatment {_TREATMENTS},control:soo_alone",
    "signalling-honest": "finetune {runs}/signalling --from honest --treatment soo",
    "signalling-hidden": "evaluate {runs}/signalling --hide-red",
    "signalling-aligned": "finetune {runs}/signalling --treatment control:more_rl,soo --world alignment=1",
    "signalling-long": (
        "finetune {runs}/signalling --treatment control:more_rl --world alignment=1 --set iterations=400"
    ),
}
"""Folder and command of every run, in their order."""
MAIN = ("deceptive", "honest", "soo", "control:more_rl", "control:hidden")
"""Conditions that are told of runs in which eyes or rewards are other ones."""


def main(arguments: list[str]) -> int:
    """Does what it is asked; returns the exit code."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("what", choices=("run", "page"))
    parser.add_argument("runs", type=Path, help="folder of all run folders")
    parser.add_argument("--page", type=Path, default=PAGE, help="the page to write")
    options = parser.parse_args(arguments)
    try:
        if options.what == "page":
            write_atomically(options.page, page(options.runs))
            return 0
        return run_all(options.runs, RUNS)
    except SooError as error:
        print(error, file=sys.stderr)
        return 2


def page(runs: Path) -> str:
    """The record page. Raises SooError where a run is missing."""
    found = {name: read_run(runs / name) for name in RUNS}
    main_run, rows = found["rl"], found["rl"].rows
    parts = [
        "# Agents: the record",
        "Every table here is written by `python -m scripts.studies.physical_deception page runs`; what it means is "
        "said in [rl.md](../rl.md). Means ± standard deviation over agents; brackets are 95 % intervals of the mean "
        "over reds (none where there are two). All agents are in the tables, none was left out.",
        made(main_run),
        "## Physical Deception, PPO against reds that trust",
        f"`{command(RUNS, 'rl')}`",
        joined([table(rows, BEHAVIOUR), table(rows, OVERLAP), table(rows, DIFFERENCES)]),
        "### Hiding red, beside SOO",
        joined([blindness(rows)]),
        "### Telling deceivers by their overlap",
        joined([detection(rows)]),
        "### Other eyes, other rewards",
        *(text for name in RUNS if name.startswith("rl-") for text in _short(name, found[name], MAIN)),
        "The paper's learner (MADDPG) against the same reds has a record of its own: [dose.md](dose.md).",
        "## Detection of 64 deceivers among 64 honest agents",
        *_short("rl64", found["rl64"]),
        f"`{command(RUNS, 'detection')}`",
        joined([detection(found["detection"].rows)]),
        "## Signalling",
        *(text for name in RUNS if name.startswith("signalling") for text in _short(name, found[name])),
        joined([detection(found["signalling"].rows)]),
    ]
    return "\n\n".join(parts) + "\n"


def _short(name: str, run: Run, conditions: Sequence[str] = ()) -> list[str]:
    """The command of a run, and its table; of an evaluation of everything only the conditions that are named."""
    rows = [row for row in run.rows if not conditions or row["condition"] in conditions]
    return [f"`{command(RUNS, name)}`", joined([table(rows, words=words_of(run))])]


if __name__ == "__main__":
    raise SystemExit(main(sys.argv[1:]))
