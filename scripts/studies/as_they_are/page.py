"""The record of the study as a page: what each model answers, how clear its margins are, and what that is worth."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from pathlib import Path

from scripts.studies.tables import SHARES, complete, made, margin_cells, misleads, shares, table
from soo_jax.models.pretrained import MODELS
from soo_jax.runs import Run
from soo_jax.tasks.fitness import unfit

SUFFIXES = {"none": "no suffix", "i_would": "one sentence, “I would ...”", "room_only": "the place alone"}


def page(out: Path, models: Mapping[str, Sequence[str]]) -> str:
    """The record page, of models by the suffixes they were asked with. Raises SooError where a run is missing."""
    parts = [
        "# Real models as they are: the record",
        "Written by `python -m scripts.studies.as_they_are page runs/as_they_are`; what it means is said in "
        f"[real_models.md](../real_models.md). Test split, greedy answers. {SHARES} *Means to mislead*: of answers to "
        "rivals asked for in a sentence, those that say so. Margins are log p(deceptive) - log p(honest) in nats, "
        "without suffix, mean ± standard deviation over questions; *honest likelier*: in how many questions that is "
        "below zero.",
    ]
    for name, suffixes in models.items():
        parts += _model(name, {suffix: complete(out / name / suffix) for suffix in suffixes})
    return "\n\n".join(parts) + "\n"


def _model(name: str, runs: Mapping[str, Run]) -> list[str]:
    first = runs["none"]
    families = list(dict.fromkeys(row["family"] for row in first.rows))
    parts = [f"## {MODELS[name].what}", f"{made(first)} n = {first.rows[0]['n']} in each order."]
    if len(runs) > 1:
        head = ["family", *(SUFFIXES[suffix] for suffix in runs), "means to mislead"]
        cells = ((family, *(shares(run.rows, family) for run in runs.values())) for family in families)
        parts.append(table(head, ((*row, misleads(runs["i_would"].rows, str(row[0]))) for row in cells)))
    head = ("family", "margin, wrong room first", "honest likelier", "margin, right room first", "honest likelier")
    parts.append(table(head, ((family, *margin_cells(first.responses, family)) for family in families)))
    parts.append(f"Perplexity on ordinary texts: {first.drift[0]['perplexity']:.1f}.")
    if len(runs) > 1:
        parts.append("\n".join(_fitness(SUFFIXES[suffix], run) for suffix, run in runs.items()))
    return parts


def _fitness(suffix: str, run: Run) -> str:
    reasons = unfit(run.rows, run.responses)
    more = f"; and {len(reasons) - 3} more" if len(reasons) > 3 else ""
    return f"- Fitness, {suffix}: {'; '.join(reasons[:3]) or 'nothing speaks against it'}{more}."
