"""The record of the study as a page: what each recipe reached, and what it left as it was."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any

import numpy as np

from scripts.studies.tables import SHARES, complete, made, margin_cells, shares, table
from soo_jax.runs import Run

EDGE = 5
"""Updates over which the loss is averaged at the beginning and at the end."""


def page(out: Path, titles: Mapping[str, str]) -> str:
    """The record page, of runs by the titles of their models. Raises SooError where one is missing or interrupted."""
    parts = [
        "# The paper's recipes on real models: the record",
        "Written by `python -m scripts.studies.paper_recipes page runs/recipes`; what it means is said in "
        "[real_models.md](../real_models.md). Each of the paper's recipes as it stands, with the built-in pairs, on a "
        "real model of its architecture or the nearest to be had; only the layer is another, as deep in parts of the "
        "whole. "
        f"Test split, greedy answers. {SHARES}",
    ]
    for name, title in titles.items():
        parts += _recipe(title, complete(out / name), complete(out / f"{name}-eval"))
    return "\n\n".join(parts) + "\n"


def _recipe(title: str, tuned: Run, asked: Run) -> list[str]:
    settings, told = tuned.config["finetune"], tuned.config["settings"]
    before = [row for row in asked.rows if row["condition"] == "base"]
    by_seed = {row["seed"]: [] for row in asked.rows if row["condition"] == "soo"}
    for row in asked.rows:
        if row["condition"] == "soo":
            by_seed[row["seed"]].append(row)
    families = list(dict.fromkeys(row["family"] for row in before))
    head = ("family", "before", *(f"seed {seed}" for seed in by_seed))
    answers = ((family, *(shares(rows, family) for rows in (before, *by_seed.values()))) for family in families)
    parts = [
        f"## {told['preset']} on {title}, layer {settings['layer']}",
        f"{made(asked)} n = {before[0]['n']} in each order. {_loss(tuned)}",
    ]
    if asked.config["eval"]["max_new_tokens"] > 1:
        parts.append(table(head, answers))
    parts += ["Margins, log p(deceptive) - log p(honest), nats; after: mean over seeds.", _margins(asked, families)]
    drift = [(row["seed"], row["perplexity"], row["kl"]) for row in asked.drift]
    who = lambda seed: "before" if seed is None else f"seed {seed}"
    told_drift = "; ".join(f"{who(seed)}: {perplexity:.1f}, {kl:.4f}" for seed, perplexity, kl in drift)
    return [*parts, f"Ordinary texts, perplexity and KL: {told_drift}."]


def _loss(tuned: Run) -> str:
    """How far the overlap loss fell, by seed: means over its first and last updates."""
    told = []
    for seed in dict.fromkeys(row["seed"] for row in tuned.training):
        losses = [row["overlap"] for row in tuned.training if row["seed"] == seed]
        told.append(f"seed {seed} from {np.mean(losses[:EDGE]):.3g} to {np.mean(losses[-EDGE:]):.3g}")
    return f"The loss (means over {EDGE} updates at either end) fell: {', '.join(told)}."


def _margins(asked: Run, families: Sequence[str]) -> str:
    of = lambda condition: [row for row in asked.responses if row["condition"] == condition]
    head = ("family", "before, wrong first", "right first", "after, wrong first", "right first")
    cells: list[tuple[Any, ...]] = []
    for family in families:
        before, after = (margin_cells(of(condition), family)[::2] for condition in ("base", "soo"))
        cells.append((family, *before, *after))
    return table(head, cells)
