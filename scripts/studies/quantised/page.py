"""The record of the study as a page: errors of weights and streams, answers that change, SOO beside the wide base."""

from __future__ import annotations

from collections.abc import Iterable, Mapping, Sequence
from functools import partial
from pathlib import Path
from typing import Any, NamedTuple

import jax.numpy as jnp
import numpy as np

import soo_jax as soo
from scripts.studies.quantised.subjects import Subject
from scripts.studies.tables import complete, line
from soo_jax.jobs.language import pack_of
from soo_jax.models import weights
from soo_jax.models.config import PROJECTIONS
from soo_jax.models.decoder import forward
from soo_jax.models.lm import LM
from soo_jax.models.quantised import SCHEMES, Quantised, widen
from soo_jax.runs import Run

SCENES = 8


class Measured(NamedTuple):
    """What a model did with one base: the run with its answers, and the one with its latent overlap."""

    answers: Run
    overlap: Run


HEAD = (
    "# Weights in 4 and 8 bits: the record\n\n"
    "Written by `python -m scripts.studies.quantised page runs/quantised` from the runs of "
    "`python -m scripts.studies.quantised run runs/quantised`: the same commands with each base, "
    "everything but the base the same. Computed in float32 on a CPU. What the settings are: [models.md](../models.md)."
)


def page(out: Path, subjects: Mapping[str, Subject], anew: Iterable[str], before: str) -> str:
    """The record page.

    Args:
      out: folder of the runs. anew: whose sections are written from their runs; the others stay as they are in
        ``before``, the page as it was.

    Raises:
      SooError: a run is missing.
    """
    sections = dict(part.split("\n", 1) for part in before.rstrip("\n").split("\n\n## ")[1:])
    written = {model: "\n" + _section(out, model, subjects[model]) for model in anew}
    parts = [f"## {model}\n{(sections | written)[model]}" for model in subjects if model in sections | written]
    return "\n\n".join([HEAD, *parts]) + "\n"


def _section(out: Path, model: str, subject: Subject) -> str:
    runs = {base: Measured(*map(complete, subject.places(model, base, out))) for base in subject.bases}
    overlap = {base: one.overlap for base, one in runs.items()}
    schemes = list(SCHEMES)
    lm = soo.load(subject.model(model, out), "float32")
    parts = [
        subject.about,
        "Error of the weights, by projection: norm of the difference over norm of the weights.",
        _errors(lm, schemes),
        f"Error of the residual stream behind layers, mean over the tokens of the first {SCENES} prompts of the "
        "test split: norm of the difference over norm of the wide model's.",
        _streams(lm, schemes),
        "Answers, all families and both orders together, in per cent (rivals: honest; controls: right), mean over "
        "seeds and smallest to largest seed; *changed*: answers of the model as it is whose label, or whose text, "
        "is not the wide model's.",
        _answers({base: one.answers for base, one in runs.items()}),
        "Latent overlap: mean squared distance of self and other at the last token, mean over all layers.",
        _latent(overlap),
    ]
    if subject.by_layer:
        parts += ["The same in the residual stream behind layers, mean over seeds.", _latent_by_layer(overlap)]
    return "\n\n".join(part for part in parts if part)


def _shown(count: int) -> list[int]:
    """Eight layers at most, evenly spread."""
    return sorted({round(i) for i in np.linspace(0, count - 1, min(count, 8))})


def _errors(lm: LM, schemes: Sequence[str]) -> str:
    lines = [line("", *PROJECTIONS), line(*["---"] * (len(PROJECTIONS) + 1))]
    for scheme in schemes:
        small = weights.quantise(lm.params, scheme)["layers"]
        cells = []
        for name in PROJECTIONS:
            wide, held = lm.params["layers"][name]["kernel"], small[name]["kernel"]
            assert isinstance(held, Quantised)
            gap = widen(held, jnp.float32) - wide
            cells.append(f"{float(jnp.linalg.norm(gap) / jnp.linalg.norm(wide)):.4f}")
        lines.append(line(scheme, *cells))
    return "\n".join(lines)


def _streams(lm: LM, schemes: Sequence[str]) -> str:
    shown = _shown(lm.config.num_layers)
    scenarios = pack_of(lm).scenarios(("burglar",), SCENES, 0, "test")[:SCENES]
    tokens, mask = lm.encode([lm.put(one.prompt, lm.has_chat_template) for one in scenarios], chat=lm.has_chat_template)
    probe = soo.residual(tuple(shown))
    read = lambda params: np.asarray(forward(lm.config, params, tokens, mask, (probe,))[probe])[:, np.asarray(mask)]
    wide = read(lm.params)
    lines = [line("behind layer", *shown), line(*["---"] * (len(shown) + 1))]
    for scheme in schemes:
        gap = read(weights.quantise(lm.params, scheme)) - wide
        error = np.linalg.norm(gap, axis=-1) / np.linalg.norm(wide, axis=-1)
        lines.append(line(scheme, *(f"{value:.3f}" for value in error.mean(-1))))
    return "\n".join(lines)


def _answers(runs: Mapping[str, Run]) -> str:
    head = (
        "base",
        "rivals before",
        "rivals after",
        "controls before",
        "controls after",
        "labels changed",
        "texts changed",
    )
    lines = [line(*head), line(*["---"] * len(head))]
    first = next(iter(runs.values()))
    for name, run in runs.items():
        rate = partial(_rate, run.responses)
        changed = [_changed(first, run, field) for field in ("label", "response")]
        cells = [rate(condition, control) for control in (False, True) for condition in ("base", "soo")]
        lines.append(line(name, *cells, *changed))
    return "\n".join(lines)


def _rate(rows: Sequence[Mapping[str, Any]], condition: str, control: bool) -> str:
    """Share of honest answers: mean over seeds, and the range over seeds where there are several."""
    by_seed: dict[Any, list[bool]] = {}
    for row in rows:
        if row["condition"] == condition and bool(row["control"]) == control:
            by_seed.setdefault(row["seed"], []).append(row["label"] == "honest")
    rates = [100 * float(np.mean(own)) for own in by_seed.values()]
    mean = f"{np.mean(rates):.1f}"
    return mean if len(rates) == 1 else f"{mean} ({min(rates):.1f} to {max(rates):.1f})"


def _changed(first: Run, run: Run, field: str) -> str:
    told = lambda one: {
        (row["family"], row["order"], row["prompt"]): row[field] for row in one.responses if row["condition"] == "base"
    }
    wide, own = told(first), told(run)
    assert wide.keys() == own.keys(), "the runs were asked different questions"
    different = sum(wide[key] != own[key] for key in wide)
    return f"{different} of {len(wide)}"


def _latent(runs: Mapping[str, Run]) -> str:
    lines = [line("base", "before", "after SOO"), line(*["---"] * 3)]
    for name, run in runs.items():
        means = []
        for condition in ("base", "soo"):
            values = [row["mse"] for row in run.latent if row["condition"] == condition]
            means.append(f"{float(np.mean(values)):.4g}")
        lines.append(line(name, *means))
    return "\n".join(lines)


def _latent_by_layer(runs: Mapping[str, Run]) -> str:
    shown = _shown(1 + max(row["layer"] for row in next(iter(runs.values())).latent))
    lines = [line("behind layer", "", *shown), line(*["---"] * (len(shown) + 2))]
    for name, run in runs.items():
        for condition, told in (("base", "before"), ("soo", "after SOO")):
            own = [row for row in run.latent if (row["condition"], row["site"]) == (condition, "residual")]
            means = [np.mean([row["mse"] for row in own if row["layer"] == layer]) for layer in shown]
            lines.append(line(name, told, *(f"{mean:.4g}" for mean in means)))
    return "\n".join(lines)
