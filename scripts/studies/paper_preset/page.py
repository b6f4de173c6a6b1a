"""The record page of the study: tables of the test problem, and of the preset's own runs."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any

import numpy as np

from scripts.studies.agent_runs import command
from scripts.studies.paper_preset.charts import COLUMNS, learning_chart
from scripts.studies.paper_preset.training import read
from scripts.studies.paper_preset.variants import LONG, SHORT, Variant
from scripts.studies.physical_deception.tables import (
    BEHAVIOUR,
    OVERLAP,
    detection,
    head,
    joined,
    single_agents,
    table,
)
from scripts.studies.tables import line, made
from soo_jax.report.rl.plots import learning_chart as run_chart
from soo_jax.report.rl.words import condition_title
from soo_jax.runs import read_run

RUNS = {
    "paper": "train --preset paper --seed 0,1,2,3,4,5,6,7",
    "paper-soo": "finetune {runs}/paper --treatment soo,soo:strong,control:more_rl",
    "paper-hidden": "evaluate {runs}/paper --hide-red",
}
"""Folder and command of the preset's own runs, in their order."""
DISTANCES, RED_ALONE = "distances.json", "red_alone.json"
SOLVED = 0.95
"""Part of its episodes in which an agent that solves the test problem reaches the goal."""
_UPDATES, _AFTER = 32, (1, 2, 3, 4, 8, 16, 32, 64)
"""Updates per iteration, and iterations after which saturation is told."""
_ONE_BY_ONE = ("trapped", "red_ever_at_goal", "blue_at_goal")


def page(runs: Path) -> str:
    """The record page, as Markdown."""
    told = {name: read(runs / f"{name}.json") for name in SHORT | LONG if (runs / f"{name}.json").is_file()}
    parts = [
        "# The paper's preset: the record",
        "Every table here is written by `python -m scripts.studies.paper_preset page runs`; what it means is said in "
        "[rl.md](../rl.md#the-papers-preset). All seeds are in the tables, none was left out.",
        "## A test problem",
        "Honest reward, the reference's settings, but blue alone learns: red stands in a corner. *Reaches the goal*: "
        f"in what part of 500 episodes. *Solved*: seeds with at least {SOLVED:g}. *Saturated*: what part of blue's "
        "actions lies beyond 0.99, in the first and the last tenth of the run. *Unexplained*: the critic's loss over "
        "the variance of its targets, in the last tenth. A line with dots differs from the last one without them in "
        "what it says.",
        f"### An eighth of the length ({_steps(told, SHORT)} steps)",
        joined([_outcomes(told, SHORT), _curve(told, SHORT), _saturation(told, SHORT)]),
        f"### The whole length ({_steps(told, LONG)} steps)",
        joined([_outcomes(told, LONG), _curve(told, LONG)]),
    ]
    parts += ["![Saturation and reward, a line for each seed](../img/paper_preset_test.png)", "## The preset"]
    for name in RUNS:
        run = read_run(runs / name)
        parts += [
            f"`{command(RUNS, name)}`",
            made(run),
            joined([table(run.rows, BEHAVIOUR), table(run.rows, OVERLAP), detection(run.rows)]),
            "Single agents, by seed:",
            joined([single_agents(run.rows, _ONE_BY_ONE)]),
        ]
        if name == "paper":
            parts += ["Blue's reward per step:", joined([_training(run.training)])]
    parts += [
        "## Red with blue in a corner",
        "The same reds on the same resets, but blue walks into a corner: what red still does, it does unled.",
        joined([_red_alone(read(runs / RED_ALONE))]),
        "## How far apart they behave",
        "Mean squared difference of surfaces of deceptive moves. Every agent is compared with every agent of another "
        "seed, of its own condition and of the others: the distance within a condition is the yardstick for that "
        "between two. Mean ± standard deviation over agents; *rates*: per step in sight, *counts*: as the reference's.",
        joined([_distances(read(runs / DISTANCES))]),
    ]
    return "\n\n".join(parts) + "\n"


def images(runs: Path) -> dict[str, bytes]:
    """The page's pictures by file name."""
    told = {name: read(runs / f"{name}.json") for name in COLUMNS}
    return {
        "paper_preset_test.png": learning_chart(told),
        "paper_preset_learning.png": run_chart(read_run(runs / "paper").training),
    }


def _training(rows: Sequence[Mapping[str, Any]]) -> list[str]:
    """Blue's reward by tenths of the run, mean ± standard deviation over seeds."""
    last = max(row["step"] for row in rows)
    lines = []
    for condition in dict.fromkeys(row["condition"] for row in rows):
        cells = []
        for i in range(10):
            own = [r for r in rows if r["condition"] == condition and i < 10 * r["step"] / last <= i + 1]
            seeds = [np.mean([r["reward_blue"] for r in own if r["seed"] == s]) for s in {r["seed"] for r in own}]
            cells.append(f"{np.mean(seeds):.2f} ± {np.std(seeds, ddof=1):.2f}")
        lines.append(line(condition_title(condition), *cells))
    return [*head("by tenths of the run", *range(1, 11)), *lines]


def _red_alone(told: Mapping[str, Mapping[str, Sequence[float]]]) -> list[str]:
    lines = [
        line(condition_title(name), *(f"{np.mean(own):.2f} ± {np.std(own, ddof=1):.2f}" for own in values.values()))
        for name, values in told.items()
    ]
    return [*head("condition", "red trapped", "red ever at goal"), *lines]


def _distances(told: Mapping[str, Mapping[str, Sequence[float]]]) -> list[str]:
    lines = []
    for pair, values in told.items():
        a, b = (condition_title(name) for name in pair.split(", "))
        cells = [
            f"{np.mean(own):.{d}f} ± {np.std(own, ddof=1):.{d}f}"
            for own, d in zip(values.values(), (4, 0), strict=True)
        ]
        lines.append(line(a, b, *cells))
    return [*head("of", "from", "rates", "counts"), *lines]


def _steps(told: Mapping[str, Any], variants: Mapping[str, Variant]) -> str:
    return " or ".join(sorted({f"{told[name]['steps']:,}" for name in variants if name in told}))


def _outcomes(told: Mapping[str, Any], variants: Mapping[str, Variant]) -> list[str]:
    """One line per variant: whether it solves the problem, and what became of its policies and critics."""
    lines = []
    for name in variants:
        if name not in told:
            continue
        own, curves = told[name]["metrics"], told[name]["curves"]
        reached = np.asarray(own["blue_ever_at_goal"])
        first, last = _tenth(curves["saturated_blue"], 0), _tenth(curves["saturated_blue"], 9)
        unexplained = _tenth(curves["critic_loss_blue"], 9) / _tenth(curves["target_variance_blue"], 9)
        lines.append(
            line(
                told[name]["about"],
                f"{reached.mean():.2f}",
                f"{int(np.sum(reached >= SOLVED))} of {len(reached)}",
                ", ".join(f"{value:.2f}" for value in own["blue_at_goal"]),
                f"{first:.2f}",
                f"{last:.2f}",
                f"{unexplained:.2f}",
            )
        )
    titles = ("reaches the goal", "solved", "steps at the goal, by seed", "saturated, first", "last", "unexplained")
    return [*head("settings", *titles), *lines]


def _curve(told: Mapping[str, Any], variants: Mapping[str, Variant]) -> list[str]:
    """Blue's reward per step by tenths of the run, mean of the seeds: 5 in every step at the goal."""
    lines = [
        line(told[name]["about"], *(f"{_tenth(told[name]['curves']['reward_blue'], i):.2f}" for i in range(10)))
        for name in variants
        if name in told
    ]
    return [*head("reward per step, by tenths of the run", *range(1, 11)), *lines]


def _saturation(told: Mapping[str, Any], variants: Mapping[str, Variant]) -> list[str]:
    """How soon policies saturate: of variants with as many updates an iteration as the preset has."""
    lines = []
    for name in variants:
        if name in told and told[name]["config"]["updates"] == _UPDATES and len(_saturated(told[name])) > _AFTER[-1]:
            lines.append(line(told[name]["about"], *(f"{_saturated(told[name])[i - 1]:.2f}" for i in _AFTER)))
    return [*head("saturated actions, after updates", *(_UPDATES * i for i in _AFTER)), *lines]


def _saturated(one: Mapping[str, Any]) -> np.ndarray:
    return np.mean(one["curves"]["saturated_blue"], axis=0)


def _tenth(curves: list[list[float]], which: int) -> float:
    """Mean over the seeds and over one tenth of the run."""
    values = np.asarray(curves)
    return float(np.mean(np.array_split(values, 10, axis=1)[which]))
