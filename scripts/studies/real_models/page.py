"""The record of the study as a page: what was answered, by model and condition, and what each layer makes of it."""

from __future__ import annotations

from pathlib import Path
from typing import Any

from scripts.studies.real_models.layers_page import (
    TOGETHER,
    TRAINED,
    found_by,
    layers_table,
    settings_table,
    together_table,
    trained_table,
)
from scripts.studies.real_models.subjects import SUBJECTS, SWEEPS, Subject
from scripts.studies.tables import SHARES, made, misleads, shares, table
from soo_jax.adapters.members import SEED
from soo_jax.llm.organisms import ORGANISMS
from soo_jax.report.llm.controls import controls_lines
from soo_jax.runs import Run, read_run

CONDITIONS = {"base": "as it is", "before": "organism", "soo-eval": "SOO", "plain-eval": "SOO, pairs without the lead"}


def page(out: Path) -> str:
    """The record page, of the subjects whose runs are there. Raises SooError where a run of one is missing."""
    parts = [
        "# Real models: the record",
        "Written by `python -m scripts.studies.real_models page runs/real`; what it means is said in "
        f"[real_models.md](../real_models.md). Test split, free greedy answers. {SHARES}",
    ]
    for name, subject in SUBJECTS.items():
        if (out / name / "soo-eval").is_dir():
            parts += _subject(out / name, subject)
    return "\n\n".join(part for part in parts if part) + "\n"


def _subject(out: Path, subject: Subject) -> list[str]:
    found = {name: read_run(out / name) for name in CONDITIONS}
    layers = read_run(out / "layers")
    diagnosis = found_by(layers)
    return [
        f"## {subject.title}",
        f"{made(found['soo-eval'])} SOO: `soo finetune {subject.shipped or 'MODEL'} "
        f"{' '.join(subject.tuned(Path('runs/real') / out.name))}`, "
        f"seeds {subject.seeds}. n = {subject.n} in each order.",
        _answers(found),
        *_reasons(out, subject),
        "Ordinary texts (KL is to the model that was fine-tuned):",
        _drift(found),
        *(
            part
            for name, (_, _, title) in SWEEPS.items()
            if (out / name).is_dir()
            for part in (f"### SOO {title}, validation scenarios", settings_table(read_run(out / name)))
        ),
        "### SOO beside its controls",
        f"One seed, n = {subject.controls[1]} in each order; honest answers in per cent, both orders together.",
        _controls(read_run(out / "controls")),
        "### Layers of the organism, 16 scenes",
        layers_table(layers.layers),
        TOGETHER,
        together_table(diagnosis),
        diagnosis.advice,
        *((TRAINED, trained_table(layers)) if layers.rows else ()),
        "### The card of the organism",
        _card(out, subject),
    ]


def _answers(found: dict[str, Run]) -> str:
    columns: dict[str, list[dict[str, Any]]] = {}
    for name, title in CONDITIONS.items():
        rows = found[name].rows
        for seed in dict.fromkeys(row[SEED] for row in rows):
            columns[title if seed is None else f"{title}, seed {seed}"] = [row for row in rows if row[SEED] == seed]
    families = list(dict.fromkeys(row["family"] for rows in columns.values() for row in rows))
    cells = ((family, *(shares(rows, family) for rows in columns.values())) for family in families)
    return table(("family", *columns), cells)


def _reasons(out: Path, subject: Subject) -> list[str]:
    """What it answers when a sentence is asked for, in which it may tell a reason."""
    runs = [read_run(out / name) for name in ("reasons", "reasons-soo") if (out / name).is_dir()]
    if len(runs) < 2:
        return []
    families = list(dict.fromkeys(row["family"] for row in runs[0].rows))
    cells = (
        (family, *(told for run in runs for told in (shares(run.rows, family), misleads(run.rows, family))))
        for family in families
    )
    head = ("family", "organism", "means to mislead", f"SOO, seed {subject.seeds[0]}", "means to mislead")
    told = f"Asked for one short sentence, with room for a reason (`--suffix i_would`), n = {subject.controls[1]}:"
    return [told, table(head, cells)]


def _drift(found: dict[str, Run]) -> str:
    told = []
    for name, title in CONDITIONS.items():
        for row in found[name].drift:
            who = title if row[SEED] is None else f"{title}, seed {row[SEED]}"
            told.append((who, f"{row['perplexity']:.1f}", f"{row['kl']:.4f}", f"{100 * row['top1']:.1f} %"))
    return table(("model", "perplexity", "KL", "same first choice"), told)


def _controls(run: Run) -> str:
    header, *lines = controls_lines(run)
    # An earlier version measured how far steering moves a model from the steered model itself: that says nothing.
    void = lambda name, kl: name.startswith("steering") and kl == "0.000"
    return table(header, ((*line[:-1], "–" if void(line[0], line[-1]) else line[-1]) for line in lines))


def _card(out: Path, subject: Subject) -> str:
    """The card without its heading: that of the package, or of what was taught here."""
    if subject.shipped is not None:
        path = ORGANISMS[subject.shipped].adapter / "README.md"
    else:
        path = next((out / f"teach-{len(subject.teaching) - 1}" / "adapters").iterdir()) / "README.md"
    return path.read_text(encoding="utf-8").split("\n", 2)[2].strip()
