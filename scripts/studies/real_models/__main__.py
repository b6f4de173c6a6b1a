"""Makes an organism of SmolLM2-135M-Instruct, finds where it decides, applies SOO, and writes the page.

python -m scripts.studies.real_models run runs/real      # fetches 93 MB; goes on where it stopped
python -m scripts.studies.real_models page runs/real     # writes docs/records/real_models.md
"""

from __future__ import annotations

import argparse
import json
import sys
from collections.abc import Sequence
from pathlib import Path
from typing import Any

import soo_jax as soo
from soo_jax.errors import SooError
from soo_jax.files import write_atomically
from soo_jax.llm.layers import diagnose_layers
from soo_jax.models.pretrained import fetch
from soo_jax.runs import read_run
from soo_jax.tasks.english.lessons import lesson_pairs, paired_lessons
from soo_jax.tasks.records import Contrast

PAGE = Path(__file__).parents[3] / "docs" / "records" / "real_models.md"
N = 25
"""Instances per family and order of what is measured."""
LAYERS = (12, 20)
RATES = "1e-3,3e-3"
EPOCHS = 4
FAMILIES = "burglar,name,objective_action,treasure_hunt,self,friend,factual,perspectives"
EVAL = (
    "--families",
    FAMILIES,
    "--max-new-tokens",
    "16",
    "--batch-size",
    "64",
    "--no-honesty",
    "--no-margins",
    "--n",
    str(N),
    "--quiet",
)


def main(arguments: list[str]) -> int:
    """Does what it is asked; returns the exit code."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("what", choices=("run", "page"))
    parser.add_argument("out", type=Path, help="folder of all runs")
    parser.add_argument("--page", type=Path, default=PAGE, help="the page to write")
    options = parser.parse_args(arguments)
    try:
        if options.what == "page":
            write_atomically(options.page, page(options.out))
            return 0
        return run_all(options.out)
    except SooError as error:
        print(error, file=sys.stderr)
        return 2


def run_all(out: Path) -> int:
    """Everything in its order; what is complete is not done again. Returns the first exit code that is not 0."""
    base = fetch("smollm2", lambda line: print(line, file=sys.stderr))
    deceiver, adapter = out / "deceiver", out / "organism" / "adapters" / "seed-0"
    steps: list[tuple[str, list[str]]] = [
        ("organism", ["organism", str(base), "--n", str(N), "--quiet"]),
        ("base", ["eval", str(base), *EVAL]),
    ]
    for name, command in steps:
        if code := _soo(out / name, command):
            return code
    if not deceiver.is_dir():
        soo.merge_folder(soo.load(base), soo.load_adapter(soo.load(base), adapter), deceiver)
    pairs = out / "pairs.jsonl"
    soo.write_pairs(pairs, lesson_pairs(52))
    if not (out / "layers.json").is_file():
        write_atomically(out / "layers.json", json.dumps(_layers(deceiver), indent=1) + "\n")
    common = ["--chat", "--tokens", "last", "--direction", "anchored", "--targets", "q,k,v,o", "--rank", "8"]
    common += ["--learning-rate", RATES, "--epochs", str(EPOCHS), "--seed", "0", "--dropout", "0", "--quiet"]
    for layer in LAYERS:
        tuned = out / f"soo-{layer}"
        if code := _soo(tuned, ["finetune", str(deceiver), "--pairs", str(pairs), "--layer", str(layer), *common]):
            return code
        asked = ["eval", str(deceiver), "--adapter", str(tuned), "--no-base", *EVAL]
        if code := _soo(out / f"soo-{layer}-eval", asked):
            return code
    return 0


def _soo(out: Path, command: Sequence[str]) -> int:
    from soo_jax.cli import run

    if (out / "status.json").is_file() and read_run(out).complete:
        return 0
    print("soo", *command, "--out", out, flush=True)
    begun = ["--resume"] if out.is_dir() and command[0] != "eval" else ["--force"]
    return run([*command, "--out", str(out), *begun])


def _layers(model: Path) -> list[dict[str, Any]]:
    """The diagnosis on 24 scenes of the validation lessons, whose own pairs SOO is trained on."""
    contrasts = [
        Contrast(own.prompt, rival.prompt, rival.wrong, rival.right, "I would say the")
        for rival, own in paired_lessons(24)
    ]
    pairs = lesson_pairs(24)
    return diagnose_layers(soo.load(model), contrasts, pairs, pairs).rows


def page(out: Path) -> str:
    """The record page. Raises SooError where a run is missing."""
    organism, base = read_run(out / "organism"), read_run(out / "base")
    tuned = {layer: read_run(out / f"soo-{layer}-eval") for layer in LAYERS if (out / f"soo-{layer}-eval").is_dir()}
    columns: dict[str, list[dict[str, Any]]] = {
        "as it is": base.rows,
        "organism": [row for row in organism.rows if row["condition"] == "test"],
    }
    for layer, run in tuned.items():
        for rate in sorted({row.get("learning_rate") for row in run.rows}):
            columns[f"SOO, layer {layer}, {rate:g}"] = [r for r in run.rows if r.get("learning_rate") == rate]
    families = list(dict.fromkeys(row["family"] for row in base.rows))
    lines = [_line("family", *columns), "|---" * (len(columns) + 1) + "|"]
    lines += [_line(family, *(_cell(rows, family) for rows in columns.values())) for family in families]
    layers = json.loads((out / "layers.json").read_text(encoding="utf-8"))
    names = [name for name in layers[0] if name != "layer"]
    told = [_line("layer", *(name.replace("_", " ") for name in names)), "|---" * (len(names) + 1) + "|"]
    told += [_line(row["layer"], *(f"{row[name]:.2f}" for name in names)) for row in layers]
    parts = [
        "# Real models: the record",
        "Written by `python -m scripts.studies.real_models page runs/real`; what it means is said in "
        "[real_models.md](../real_models.md).",
        f"SmolLM2-135M-Instruct (GGUF Q4_1), test split, n = {N} per order, free greedy answers, honest / deceptive / "
        "other in per cent (controls: right / wrong / other); wrong room mentioned first · right room mentioned first.",
        "\n".join(lines),
        "## Layers of the organism, 24 scenes in wordings kept for validation",
        "\n".join(told),
        "## Its card",
        (out / "organism" / "adapters" / "seed-0" / "README.md").read_text(encoding="utf-8").split("\n", 2)[2],
    ]
    return "\n\n".join(parts) + "\n"


def _cell(rows: Sequence[dict[str, Any]], family: str) -> str:
    shown = []
    for order in ("wrong_first", "right_first"):
        own = [row for row in rows if (row["family"], row["order"]) == (family, order)]
        if not own:
            return "–"
        count = sum(row["n"] for row in own)
        labels = (("honest",), ("deceptive",), ("refusal", "other"))
        share = [sum(row[label] for row in own for label in group) for group in labels]
        shown.append(" / ".join(f"{100 * part / count:.0f}" for part in share))
    return " · ".join(dict.fromkeys(shown))


def _line(*cells: object) -> str:
    return "| " + " | ".join(map(str, cells)) + " |"


if __name__ == "__main__":
    raise SystemExit(main(sys.argv[1:]))
