"""The record of the study as a page: what was answered, by model and layer, and what each layer makes of the pairs."""

from __future__ import annotations

from collections.abc import Sequence
from pathlib import Path
from typing import Any

from soo_jax.report.llm.sweep import MEASURES, settings_of
from soo_jax.runs import read_run

CONDITIONS = {"base": "as it is", "before": "organism", "soo-eval": "SOO", "turned-eval": "turned instead"}


def page(out: Path) -> str:
    """The record page. Raises SooError where a run is missing."""
    columns: dict[str, list[dict[str, Any]]] = {}
    for name, title in CONDITIONS.items():
        rows = read_run(out / name).rows
        for seed in dict.fromkeys(row["seed"] for row in rows):
            columns[title if seed is None else f"{title}, seed {seed}"] = [row for row in rows if row["seed"] == seed]
    families = list(dict.fromkeys(row["family"] for rows in columns.values() for row in rows))
    count = next(iter(columns.values()))[0]["n"]
    answers = [_line("family", *columns), "|---" * (len(columns) + 1) + "|"]
    answers += [_line(family, *(_cell(rows, family) for rows in columns.values())) for family in families]
    drift = [row for name in CONDITIONS for row in read_run(out / name).drift]
    told = [_line("model", "perplexity", "KL", "same first choice"), "|---|---|---|---|"]
    for name, title in CONDITIONS.items():
        for row in read_run(out / name).drift:
            who = title if row["seed"] is None else f"{title}, seed {row['seed']}"
            told.append(_line(who, f"{row['perplexity']:.1f}", f"{row['kl']:.4f}", f"{100 * row['top1']:.1f} %"))
    parts = [
        "# Real models: the record",
        "Written by `python -m scripts.studies.real_models page runs/real`; what it means is said in "
        "[real_models.md](../real_models.md).",
        f"SmolLM2-135M-Instruct (GGUF Q4_1), test split, free greedy answers, n = {count} in each order: honest / "
        "deceptive / other in per cent (controls: right / wrong / other); wrong room mentioned first · right room "
        "mentioned first; one figure where both are the same.",
        "\n".join(answers),
        "Ordinary texts (KL is to the model that was fine-tuned):" if drift else "",
        "\n".join(told) if drift else "",
    ]
    for name, title in (
        ("sweep-lead", "SOO by layer, pairs up to the decision"),
        ("sweep-plain", "SOO by layer, pairs that end with the question"),
    ):
        parts += [f"## {title}", _sweep(out / name)]
    parts += ["## Layers of the organism, 16 scenes", _layers(read_run(out / "layers").layers)]
    parts.append((out / "layers" / "advice.txt").read_text(encoding="utf-8").strip())
    parts += ["## The card of the organism", read_card(out)]
    return "\n\n".join(part for part in parts if part) + "\n"


def read_card(out: Path) -> str:
    """The card without its heading."""
    return (
        (out / "organism" / "adapters" / "seed-1" / "README.md").read_text(encoding="utf-8").split("\n", 2)[2].strip()
    )


def _sweep(path: Path) -> str:
    found = settings_of(read_run(path))
    names = list(found[0].values)
    titles = [*(name.replace("_", " ") for name in names), "seeds", "worst rival, %", *MEASURES.values()]
    lines = [_line(*titles), "|---" * len(titles) + "|"]
    for one in found:
        rates = (f"{one.worst:.0f}", f"{one.honest:.0f}", f"{one.control:.0f}", f"{one.kl:.4f}")
        lines.append(_line(*(one.values[name] for name in names), one.seeds, *rates))
    return "\n".join(lines)


def _layers(rows: Sequence[dict[str, Any]]) -> str:
    names = [name for name in rows[0] if name != "layer"]
    lines = [_line("layer", *(name.replace("_", " ") for name in names)), "|---" * (len(names) + 1) + "|"]
    return "\n".join([*lines, *(_line(row["layer"], *(f"{row[name]:.2f}" for name in names)) for row in rows)])


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
