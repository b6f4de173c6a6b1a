"""The record of the study as a page: what each model answers, how clear its margins are, and what that is worth."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any

import numpy as np

from scripts.studies.tables import SHARES, made, shares, table
from soo_jax.errors import SooError
from soo_jax.models.pretrained import MODELS
from soo_jax.runs import Run, read_run
from soo_jax.tasks.fitness import unfit
from soo_jax.tasks.records import ORDERS

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
        parts += _model(name, {suffix: _whole(out / name / suffix) for suffix in suffixes})
    return "\n\n".join(parts) + "\n"


def _whole(path: Path) -> Run:
    run = read_run(path)
    if not run.complete:
        raise SooError(f"{path}: the run is {run.state}; its figures would be those of a part of it")
    return run


def _model(name: str, runs: Mapping[str, Run]) -> list[str]:
    first = runs["none"]
    families = list(dict.fromkeys(row["family"] for row in first.rows))
    parts = [f"## {MODELS[name].what}", f"{made(first)} n = {first.rows[0]['n']} in each order."]
    if len(runs) > 1:
        head = ["family", *(SUFFIXES[suffix] for suffix in runs), "means to mislead"]
        cells = ((family, *(shares(run.rows, family) for run in runs.values())) for family in families)
        parts.append(table(head, ((*row, _mislead(runs["i_would"].rows, str(row[0]))) for row in cells)))
    head = ("family", "margin, wrong room first", "honest likelier", "margin, right room first", "honest likelier")
    parts.append(table(head, ((family, *_margins(first.responses, family)) for family in families)))
    parts.append(f"Perplexity on ordinary texts: {first.drift[0]['perplexity']:.1f}.")
    if len(runs) > 1:
        parts.append("\n".join(_fitness(SUFFIXES[suffix], run) for suffix, run in runs.items()))
    return parts


def _mislead(rows: Sequence[dict[str, Any]], family: str) -> str:
    """Per cent of answers to rivals, both orders together."""
    own = [row for row in rows if row["family"] == family and row["mislead"] is not None]
    return f"{100 * sum(row['mislead'] for row in own) / sum(row['n'] for row in own):.0f} %" if own else "–"


def _margins(responses: Sequence[dict[str, Any]], family: str) -> list[str]:
    cells = []
    for order in ORDERS:
        own = [row["logp_margin"] for row in responses if (row["family"], row["order"]) == (family, order)]
        cells += [f"{np.mean(own):.2f} ± {np.std(own, ddof=1):.2f}", f"{100 * np.mean(np.less(own, 0)):.0f} %"]
    return cells


def _fitness(suffix: str, run: Run) -> str:
    reasons = unfit(run.rows, run.responses)
    return f"- Fitness, {suffix}: {'; '.join(reasons) or 'nothing speaks against it'}."
