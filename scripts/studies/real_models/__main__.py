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
from soo_jax.llm.controls import Turned
from soo_jax.llm.layers import diagnose_layers
from soo_jax.models.pretrained import fetch
from soo_jax.runs import read_run
from soo_jax.tasks.english.lessons import lesson_pairs, paired_lessons
from soo_jax.tasks.records import Contrast

PAGE = Path(__file__).parents[3] / "docs" / "records" / "real_models.md"
LAYER = 18
"""The layer that the diagnosis advises: the last whose attention decides and says for whom the answer is."""
LEAD = "I would say the"
"""How the organism's answers begin; behind it the room is decided."""
TRIALS = {
    "lead": ("--lead", LEAD, "--learning-rate", "1e-3,3e-3", "--seed", "0"),
    "plain": ("--learning-rate", "1e-3,3e-3", "--seed", "0"),
    "seeds": ("--lead", LEAD, "--learning-rate", "1e-3", "--seed", "1,2"),
}
"""What is tried, by run: pairs up to the decision, pairs up to the end of the question, more seeds of the first."""
TITLES = {"lead": "SOO", "plain": "SOO, pairs without the lead", "seeds": "SOO", "turned": "turned instead"}
TRAINING = (
    *("--chat", "--layer", str(LAYER), "--adapter-layers", str(LAYER), "--tokens", "last", "--direction", "anchored"),
    *("--targets", "q,k,v,o", "--rank", "8", "--epochs", "4", "--dropout", "0", "--quiet", "--no-pair-check"),
)
ASKED = (
    *("--families", "burglar,name_objective,self,friend,factual,perspectives", "--n", "10", "--max-new-tokens", "16"),
    *("--batch-size", "64", "--no-honesty", "--no-margins", "--quiet"),
)
REST = "name,objective,action,name_action,objective_action,name_objective_action,treasure_hunt,escape_room"
"""Families that are asked of the first adapter alone."""


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
        ("organism", ["organism", str(base), "--n", "15", "--quiet"]),
        ("base", ["eval", str(base), *ASKED]),
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
    for name, settings in TRIALS.items():
        if code := _soo(out / name, ["finetune", str(deceiver), "--pairs", str(pairs), *TRAINING, *settings]):
            return code
    if not (out / "turned").is_dir():
        _turn(deceiver, pairs, out / "turned")
    for name in (*TRIALS, "turned"):
        if code := _soo(
            out / f"{name}-eval", ["eval", str(deceiver), "--adapter", str(out / name), "--no-base", *ASKED]
        ):
            return code
    first = out / "lead" / "adapters" / "seed-0-lr-0.001"
    asked = ["eval", str(deceiver), "--adapter", str(first), "--no-base", "--families", REST, *ASKED[2:]]
    return _soo(out / "rest-eval", asked)


def _turn(model: Path, pairs_file: Path, out: Path) -> None:
    """The control that closes the same distance in another direction, with the settings of the first trial."""
    lm = soo.load(model)
    swapped = [soo.Pair(pair.other_text, pair.self_text) for pair in soo.read_pairs(pairs_file)]
    lora = soo.LoraConfig(rank=8, dropout=0.0, targets=("q", "k", "v", "o"), layers=(LAYER,))
    config = soo.FinetuneConfig(
        layer=LAYER, tokens="last", learning_rate=1e-3, epochs=4, seeds=(0,), lora=lora, chat=True, lead=LEAD
    )
    objective = soo.weighted(turned=(1.0, Turned(soo.attn_out(LAYER), 1)))
    soo.save_adapters(out / "adapters", lm, soo.finetune(lm, swapped, config, objective=objective)[0])


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
        Contrast(own.prompt, rival.prompt, rival.wrong, rival.right, LEAD) for rival, own in paired_lessons(24)
    ]
    pairs = lesson_pairs(24)
    return diagnose_layers(soo.load(model), contrasts, pairs, pairs).rows


def page(out: Path) -> str:
    """The record page. Raises SooError where a run is missing."""
    organism, base = read_run(out / "organism"), read_run(out / "base")
    columns: dict[str, list[dict[str, Any]]] = {
        "as it is": base.rows,
        "deceiver": [row for row in organism.rows if row["condition"] == "test"],
    }
    for name in (*TRIALS, "turned"):
        if not (out / f"{name}-eval").is_dir():
            continue
        rows = read_run(out / f"{name}-eval").rows
        for rate, seed in sorted({(row.get("learning_rate", 1e-3), row["seed"]) for row in rows}):
            own = [r for r in rows if (r.get("learning_rate", 1e-3), r["seed"]) == (rate, seed)]
            columns[f"{TITLES[name]}, rate {rate:g}, seed {seed}"] = own
    if (out / "rest-eval").is_dir():
        columns[f"{TITLES['lead']}, rate 0.001, seed 0"] += read_run(out / "rest-eval").rows
    families = list(dict.fromkeys(row["family"] for rows in columns.values() for row in rows))
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
        "SmolLM2-135M-Instruct (GGUF Q4_1), test split, free greedy answers, honest / deceptive / other in per cent "
        "(controls: right / wrong / other); wrong room mentioned first · right room mentioned first. Per order "
        f"{base.rows[0]['n']} questions as it is, {organism.rows[0]['n']} of the deceiver, 10 after SOO.",
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
