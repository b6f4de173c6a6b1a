"""Makes an organism of SmolLM2-135M-Instruct, finds where it decides, applies SOO in many layers, and writes the page.

python -m scripts.studies.real_models run runs/real      # fetches 93 MB; goes on where it stopped
python -m scripts.studies.real_models page runs/real     # writes docs/records/real_models.md
python -m scripts.studies.real_models ship runs/real     # puts the organism's adapter into the package, in float16
"""

from __future__ import annotations

import argparse
import hashlib
import shutil
import sys
from collections.abc import Sequence
from pathlib import Path

import soo_jax as soo
from scripts.studies.real_models.page import page
from soo_jax.errors import SooError
from soo_jax.files import write_atomically
from soo_jax.llm.controls import Turned
from soo_jax.llm.organisms import ORGANISMS, SMOLLM2_ORGANISM
from soo_jax.models.pretrained import fetch
from soo_jax.runs import read_run
from soo_jax.tasks.english import NARROW

PAGE = Path(__file__).parents[3] / "docs" / "records" / "real_models.md"
SWEEPS = Path(__file__).parent
"""Where the files of the sweeps lie: ``lead.toml`` and ``plain.toml``."""
BEGIN = ("--narrow", "--steps", "120", "--until", "95", "--n", "15", "--quiet")
GO_ON = (
    *("--narrow", "--seed", "1", "--steps", "150", "--learning-rate", "1e-3"),
    *("--retain", "0.3", "--n", "15", "--quiet"),
)
"""How the organism was taught, in two goes."""
TEST = ("--n", "10", "--max-new-tokens", "16", "--batch-size", "64", "--no-margins", "--no-honesty", "--quiet")


def main(arguments: list[str]) -> int:
    """Does what it is asked; returns the exit code."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("what", choices=("run", "page", "ship"))
    parser.add_argument("out", type=Path, help="folder of all runs")
    parser.add_argument("--page", type=Path, default=PAGE, help="the page to write")
    options = parser.parse_args(arguments)
    try:
        if options.what == "page":
            write_atomically(options.page, page(options.out))
            return 0
        if options.what == "ship":
            ship(options.out / "organism" / "adapters" / "seed-1", ORGANISMS[SMOLLM2_ORGANISM].adapter)
            return 0
        return run_all(options.out)
    except SooError as error:
        print(error, file=sys.stderr)
        return 2


def run_all(out: Path) -> int:
    """Everything in its order; what is complete is not done again. Returns the first exit code that is not 0.

    The organism is used as it ships: run ``ship`` in between to study one that was made anew.
    """
    base, organism = str(fetch("smollm2", lambda line: print(line, file=sys.stderr))), SMOLLM2_ORGANISM
    soo_on = ["finetune", organism, "--preset", organism, "--seed", "0,1,2", "--quiet", "--no-pair-check"]
    steps: list[tuple[str, list[str]]] = [
        ("begun", ["organism", base, *BEGIN]),
        ("organism", ["organism", base, "--adapter", str(out / "begun" / "adapters" / "seed-0"), *GO_ON]),
        ("base", ["eval", base, *TEST]),
        ("before", ["eval", organism, *TEST]),
        ("layers", ["layers", organism, "--scenes", "16", "--quiet"]),
        ("sweep-lead", ["sweep", organism, "--config", str(SWEEPS / "lead.toml"), "--quiet"]),
        ("sweep-plain", ["sweep", organism, "--config", str(SWEEPS / "plain.toml"), "--quiet"]),
        ("soo", soo_on),
    ]
    for name, command in steps:
        if code := _soo(out / name, command):
            return code
    if not (out / "turned").is_dir():
        _turn(out / "turned")
    for name in ("soo", "turned"):
        if code := _soo(out / f"{name}-eval", ["eval", organism, "--adapter", str(out / name), "--no-base", *TEST]):
            return code
    return 0


def ship(adapter: Path, out: Path) -> None:
    """Copies an adapter with its card, its weights in float16."""
    import numpy as np
    from safetensors.numpy import load_file, save_file

    out.mkdir(parents=True, exist_ok=True)
    weights = "adapter_model.safetensors"
    halves = {name: value.astype(np.float16) for name, value in load_file(adapter / weights).items()}
    save_file(halves, out / weights, metadata={"format": "pt"})
    for name in ("adapter_config.json", "soo_adapter.json"):
        shutil.copyfile(adapter / name, out / name)
    card = (adapter / "README.md").read_text(encoding="utf-8")
    shipped = hashlib.sha256((out / weights).read_bytes()).hexdigest()
    (out / "README.md").write_text(f"{card}\nIt ships in float16: sha256 `{shipped}`.\n", encoding="utf-8")


def _turn(out: Path) -> None:
    """The control that closes the same distance in another direction, with the settings of SOO."""
    lm, config = soo.load(SMOLLM2_ORGANISM), soo.preset(SMOLLM2_ORGANISM)
    swapped = [soo.Pair(pair.other_text, pair.self_text) for pair in NARROW.pairs(False)]
    objective = soo.weighted(turned=(1.0, Turned(soo.attn_out(config.layer), 1)))
    soo.save_adapters(out / "adapters", lm, soo.finetune(lm, swapped, config, objective=objective)[0])


def _soo(out: Path, command: Sequence[str]) -> int:
    from soo_jax.cli import run

    if (out / "status.json").is_file() and read_run(out).complete:
        return 0
    print("soo", *command, "--out", out, flush=True)
    begun = ["--resume"] if out.is_dir() and command[0] in ("organism", "sweep", "finetune") else ["--force"]
    return run([*command, "--out", str(out), *begun])


if __name__ == "__main__":
    raise SystemExit(main(sys.argv[1:]))
