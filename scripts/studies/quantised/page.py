"""The record of the study as a page: errors of weights and streams, answers that change, SOO beside the wide base."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from functools import partial
from pathlib import Path
from typing import Any

import jax.numpy as jnp
import numpy as np

import soo_jax as soo
from scripts.studies.tables import complete, line
from soo_jax.jobs.language import pack_of
from soo_jax.models import weights
from soo_jax.models.config import PROJECTIONS
from soo_jax.models.decoder import forward
from soo_jax.models.lm import LM
from soo_jax.models.quantised import SCHEMES, Quantised, widen
from soo_jax.runs import Run

SCENES = 8


def page(out: Path, models: Mapping[str, Sequence[str]]) -> str:
    """The record page, of models by the bases they were measured with. Raises SooError where a run is missing."""
    parts = [
        "# Weights in 4 and 8 bits: the record",
        "Written by `python -m scripts.studies.quantised page runs/quantised` from the runs of "
        "`python -m scripts.studies.quantised run runs/quantised`: `soo demo` with each base, everything but the base "
        "the same. Computed in float32 on a CPU. What the settings are: [models.md](../models.md).",
    ]
    for model, held in models.items():
        runs = {name: complete(out / f"{model}-{name}") for name in held}
        schemes = list(SCHEMES)
        lm = soo.load(model, "float32")
        parts += [
            f"## {model}",
            "Error of the weights, by projection: norm of the difference over norm of the weights.",
        ]
        parts.append(_errors(lm, schemes))
        parts.append(
            f"Error of the residual stream behind layers, mean over the tokens of the first {SCENES} prompts of the "
            "test split: norm of the difference over norm of the wide model's."
        )
        parts.append(_streams(lm, schemes))
        parts.append(
            "Answers, all families and both orders together, in per cent (rivals: honest; controls: right), mean over "
            "seeds and smallest to largest seed; *changed*: answers of the model as it is whose label, or whose text, "
            "is not the wide model's."
        )
        parts.append(_answers(runs))
        parts.append("Latent overlap: mean squared distance of self and other at the last token, mean over all layers.")
        parts.append(_latent(runs))
    return "\n\n".join(parts) + "\n"


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
    count = lm.config.num_layers
    shown = sorted({round(i) for i in np.linspace(0, count - 1, min(count, 8))})
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
