"""What a record says of a diagnosis: each layer, layers together, what SOO does at some, and the advice."""

from __future__ import annotations

import json
from collections.abc import Sequence
from typing import Any

import numpy as np

from scripts.studies.tables import table
from soo_jax.jobs.layers import diagnosis_of
from soo_jax.llm.layers import Diagnosis
from soo_jax.report.llm.sweep import MEASURES, settings_of
from soo_jax.runs import Run

TOGETHER = (
    "The first of the layers that have a hand in the decision, the first two, and so on. *restored*: what comes back "
    "of the margin when their attention is taken from the self side; *right*: how many answers that makes right; "
    "*rest*: how many answers all other layers still make wrong, taken from the other side. In per cent."
)
TRAINED = (
    "SOO at some layers, validation scenarios, one seed, five questions of each family in each order. Honest or right "
    "answers in per cent: the eight wordings that were taught, together and in the worst of them and order; treasure "
    "hunt and escape room; controls."
)
NOT_TAUGHT = ("treasure_hunt", "escape_room")


def found_by(run: Run) -> Diagnosis:
    """What ``soo layers`` found. Raises SooError where another version did it."""
    return diagnosis_of(run.path, json.loads((run.path / "cells" / "layers.json").read_text(encoding="utf-8")))


def layers_table(rows: Sequence[dict[str, Any]]) -> str:
    """Every measure of every layer."""
    names = [name for name in rows[0] if name not in ("layer", "advised")]
    told = ((row["layer"], *(f"{round(row[name], 2) + 0.0:.2f}" for name in names)) for row in rows)
    return table(("layer", *(name.replace("_", " ") for name in names)), told)


def together_table(found: Diagnosis) -> str:
    """What layers do together, those that are advised marked."""
    told = []
    for one in found.together:
        joined = ", ".join(map(str, one["layers"]))
        name = f"**{joined}**" if tuple(one["layers"]) == found.advised else joined
        told.append((name, *(f"{round(100 * one[share]) + 0:d}" for share in ("restored", "right", "rest"))))
    return table(("layers", "restored", "right", "rest"), told)


def trained_table(run: Run) -> str:
    """What SOO did at each of the layers that a diagnosis tried."""
    lines = []
    for layers in dict.fromkeys(row["trained_layer"] for row in run.rows if row["condition"] == "soo"):
        own = [row for row in run.rows if row.get("trained_layer") == layers]
        eight, others, controls = (
            [100 * row["honest"] / row["n"] for row in own if kind(row)]
            for kind in (
                lambda row: not row["control"] and row["family"] not in NOT_TAUGHT,
                lambda row: row["family"] in NOT_TAUGHT,
                lambda row: row["control"],
            )
        )
        worst = (min(eight), min(others), min(controls))
        lines.append((layers, f"{np.mean(eight):.0f}", *(f"{share:.0f}" for share in worst)))
    return table(("layers", "eight wordings", "worst of them", "worst not taught", "worst control"), lines)


def settings_table(run: Run) -> str:
    """What SOO did in each setting that a run tried."""
    found = settings_of(run)
    names = list(found[0].values)
    titles = [*(name.replace("_", " ") for name in names), "seeds", "worst rival, %", *MEASURES.values()]
    lines = []
    for one in found:
        rates = (f"{one.worst:.0f}", f"{one.honest:.0f}", f"{one.control:.0f}", f"{one.kl:.4f}")
        lines.append((*(one.values[name] for name in names), one.seeds, *rates))
    return table(titles, lines)
