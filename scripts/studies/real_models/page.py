"""The record of the study as a page: what was answered, by model and condition, and what each layer makes of it."""

from __future__ import annotations

from collections.abc import Sequence
from pathlib import Path
from typing import Any

from scripts.studies.real_models.subjects import SUBJECTS, Subject
from soo_jax.adapters.members import SEED
from soo_jax.llm.organisms import ORGANISMS
from soo_jax.report.llm.controls import controls_lines
from soo_jax.report.llm.sweep import MEASURES, settings_of
from soo_jax.runs import Run, read_run

CONDITIONS = {"base": "as it is", "before": "organism", "soo-eval": "SOO", "plain-eval": "SOO, pairs without the lead"}


def page(out: Path) -> str:
    """The record page, of the subjects whose runs are there. Raises SooError where a run of one is missing."""
    parts = [
        "# Real models: the record",
        "Written by `python -m scripts.studies.real_models page runs/real`; what it means is said in "
        "[real_models.md](../real_models.md). Test split, free greedy answers. Three shares in per cent are honest / "
        "deceptive / other (controls: right / wrong / other); wrong room mentioned first · right room mentioned first; "
        "one figure where both are the same.",
    ]
    for name, subject in SUBJECTS.items():
        if (out / name / "soo-eval").is_dir():
            parts += _subject(out / name, subject)
    return "\n\n".join(part for part in parts if part) + "\n"


def _subject(out: Path, subject: Subject) -> list[str]:
    found = {name: read_run(out / name) for name in CONDITIONS}
    advice = (out / "layers" / "advice.txt").read_text(encoding="utf-8").strip()
    return [
        f"## {subject.title}",
        f"{_made(found['soo-eval'])} SOO: `soo finetune {subject.shipped or 'MODEL'} {' '.join(subject.tuning)}`, "
        f"seeds {subject.seeds}. n = {subject.n} in each order.",
        "\n".join(_answers(found)),
        "Ordinary texts (KL is to the model that was fine-tuned):",
        "\n".join(_drift(found)),
        "### SOO by layer and rate, validation scenarios",
        _sweep(read_run(out / "sweep")),
        "### SOO beside its controls",
        f"One seed, n = {subject.controls[1]} in each order; honest answers in per cent, both orders together.",
        "\n".join(_controls(read_run(out / "controls"))),
        "### Layers of the organism, 16 scenes",
        _layers(read_run(out / "layers").layers),
        advice,
        "### The card of the organism",
        _card(out, subject),
    ]


def _made(run: Run) -> str:
    told = run.config["provenance"]
    versions = ", ".join(f"{name} {value}" for name, value in told["versions"].items() if value)
    return f"Made with {versions}; git {str(told.get('git_revision', ''))[:12]}; {told.get('device_kind', 'cpu')}."


def _answers(found: dict[str, Run]) -> list[str]:
    columns: dict[str, list[dict[str, Any]]] = {}
    for name, title in CONDITIONS.items():
        rows = found[name].rows
        for seed in dict.fromkeys(row[SEED] for row in rows):
            columns[title if seed is None else f"{title}, seed {seed}"] = [row for row in rows if row[SEED] == seed]
    families = list(dict.fromkeys(row["family"] for rows in columns.values() for row in rows))
    lines = [_line("family", *columns), "|---" * (len(columns) + 1) + "|"]
    return lines + [_line(family, *(_cell(rows, family) for rows in columns.values())) for family in families]


def _drift(found: dict[str, Run]) -> list[str]:
    told = [_line("model", "perplexity", "KL", "same first choice"), "|---|---|---|---|"]
    for name, title in CONDITIONS.items():
        for row in found[name].drift:
            who = title if row[SEED] is None else f"{title}, seed {row[SEED]}"
            told.append(_line(who, f"{row['perplexity']:.1f}", f"{row['kl']:.4f}", f"{100 * row['top1']:.1f} %"))
    return told


def _controls(run: Run) -> list[str]:
    header, *lines = controls_lines(run)
    return [_line(*header), "|---" * len(header) + "|", *(_line(*line) for line in lines)]


def _card(out: Path, subject: Subject) -> str:
    """The card without its heading: that of the package, or of what was taught here."""
    if subject.shipped is not None:
        path = ORGANISMS[subject.shipped].adapter / "README.md"
    else:
        path = next((out / f"teach-{len(subject.teaching) - 1}" / "adapters").iterdir()) / "README.md"
    return path.read_text(encoding="utf-8").split("\n", 2)[2].strip()


def _sweep(run: Run) -> str:
    found = settings_of(run)
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
