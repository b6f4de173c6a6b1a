"""The record of the study as a page, and its curve."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any

import numpy as np

from scripts.studies.agent_runs import command
from scripts.studies.physical_deception.tables import WORDS, cell, level
from scripts.studies.tables import complete, made, table
from soo_jax.files import write_atomically
from soo_jax.report.rl.words import metric
from soo_jax.report.style import LIGHT, new_figure, styled, to_png
from soo_jax.rl.statistics import Summary, agent_rows, aggregate, changes

METRICS = ("trapped", "blue_at_goal", "deceptive_rate", "soo_relative_untrapped", "steps_in_sight")
DECEPTIVE, HIDDEN, STILL, MORE = "deceptive", "deceptive, red hidden", "blue stands still", "more RL, no SOO"
BLIND, BLIND_HIDDEN = "more RL with red hidden", "more RL with red hidden, red hidden"
HONEST, HONEST_SOO = "honest reward from then on, no SOO", "honest reward from then on, SOO, weight 10"
FLAG = "SOO, weight 10, other view with the trap's flag"
CHECKED = {"10": "soo-hidden", "100": "strong-hidden"}
"""Weights whose agents were also measured with red hidden, and the runs."""
Rows = list[dict[str, Any]]


def both(weight: str) -> str:
    """The condition of SOO with a weight."""
    return f"SOO, weight {weight}"


def held(weight: str) -> str:
    """The condition of SOO with a weight, the self side held."""
    return f"SOO, weight {weight}, self side held"


def page(runs: Path, commands: Mapping[str, str], weights: Sequence[str]) -> str:
    """The record page. Raises SooError where a run is missing or was interrupted."""
    rows, first = _rows(runs, weights), complete(runs / "maddpg")
    found = aggregate(rows)
    reds, agents = found[DECEPTIVE, "trapped"].reds, found[DECEPTIVE, "trapped"].n
    parts = [
        "# How much SOO, how much less deception: the record",
        "Written by `python -m scripts.studies.dose page runs/dose` from the runs of `python -m scripts.studies.dose "
        f"run runs/dose`; what it means is said in [rl.md](../rl.md). {agents} MADDPG deceivers, {reds} reds that "
        f"trust and {agents // reds} seeds each; none was left out. Mean ± standard deviation over agents; brackets "
        "are 95 % intervals of the mean over reds.",
        made(first),
        "\n".join(f"- `{command(commands, name)}`" for name in commands),
        "## What each is like",
        _levels(found),
        "## What became of each agent",
        "Beside the same agent before, paired.",
        _changes(rows),
        _needs(rows, weights),
        "## Reds one by one: red trapped, means over seeds",
        _by_red(rows, weights),
    ]
    return "\n\n".join(parts) + "\n"


def chart(runs: Path, weights: Sequence[str], path: Path) -> None:
    """The dose curve: red trapped by weight, with intervals, beside what needs no SOO."""
    found = aggregate(_rows(runs, weights))
    doses = [float(weight) for weight in weights]
    with styled(LIGHT):
        figure, axes = new_figure(LIGHT, 3.4, 1, 2, sharex=True)
        for axis, name in zip(np.ravel(axes), ("trapped", "blue_at_goal"), strict=True):
            for title, one, color in (("SOO", both, LIGHT.apart[0]), ("SOO, self side held", held, LIGHT.apart[2])):
                own = [found[one(weight), name] for weight in weights]
                axis.plot(doses, [each.mean for each in own], "o-", color=color, markersize=3, label=title)
                axis.fill_between(
                    doses, [each.low for each in own], [each.high for each in own], color=color, alpha=0.2, linewidth=0
                )
            for title, condition, dashes in (
                ("more RL, no SOO", MORE, "-"),
                ("red hidden", HIDDEN, "--"),
                ("blue stands still", STILL, ":"),
            ):
                axis.axhline(found[condition, name].mean, color=LIGHT.ink, linewidth=0.9, linestyle=dashes, label=title)
            axis.set_xscale("log")
            axis.set_xlabel("weight of SOO", fontsize=8)
            axis.set_ylabel(metric(name, WORDS).title, fontsize=8)
            axis.set_ylim(0, 1.02)
        np.ravel(axes)[1].legend(fontsize=7, loc="upper right")
        write_atomically(path, to_png(figure))


def _rows(runs: Path, weights: Sequence[str]) -> Rows:
    """Rows of all agents under the names of this study."""
    found = _named(runs / "maddpg", DECEPTIVE, DECEPTIVE)
    found += _named(runs / "hidden", None, HIDDEN) + _named(runs / "still", None, STILL)
    found += _named(runs / "more", "control:more_rl", MORE)
    for weight in weights:
        for how, name in (("soo", both(weight)), ("control:stop_self", held(weight))):
            found += _named(runs / f"dose-{weight}", how, name)
    found += _named(runs / "blind", "control:more_rl", BLIND) + _named(runs / "blind-hidden", None, BLIND_HIDDEN)
    found += _named(runs / "more-hidden", None, f"{MORE}, red hidden")
    found += _named(runs / "honest-reward", "control:more_rl", HONEST) + _named(
        runs / "honest-reward", "soo", HONEST_SOO
    )
    found += _named(runs / "flag", "soo", FLAG)
    for weight, name in CHECKED.items():
        found += _named(runs / name, "soo", f"{both(weight)}, red hidden")
    return found


def _named(path: Path, condition: str | None, name: str) -> Rows:
    """The agents of a condition of a run (None: of the only one) under another name."""
    rows = agent_rows(complete(path).rows)
    only = {row["condition"].partition("@")[0] for row in rows}
    return [
        {**row, "condition": name}
        for row in rows
        if condition is None or len(only) == 1 or row["condition"].partition("@")[0] == condition
    ]


def _levels(found: Mapping[tuple[str, str], Summary]) -> str:
    conditions = dict.fromkeys(condition for condition, _ in found)
    head = ("", *(metric(name, WORDS).title for name in METRICS))
    return table(head, ((one, *(_cell(found.get((one, name)), name) for name in METRICS)) for one in conditions))


def _changes(rows: Rows) -> str:
    conditions = [one for one in dict.fromkeys(row["condition"] for row in rows) if one != DECEPTIVE]
    head = ("change of", "red trapped", "blue at goal")
    cells = []
    for one in conditions:
        found = changes(rows, DECEPTIVE, one)
        cells.append((one, *(cell(found.get(name), 2, True) for name in ("trapped", "blue_at_goal"))))
    return table(head, cells)


def _needs(rows: Rows, weights: Sequence[str]) -> str:
    """How what hiding red does to an agent goes together with what SOO does to it."""
    trapped = {(row["condition"], row["red"], row["seed"]): row["value"] for row in rows if row["metric"] == "trapped"}
    agents = [(red, seed) for condition, red, seed in trapped if condition == DECEPTIVE]
    moved = lambda name: [trapped[name, *who] - trapped[DECEPTIVE, *who] for who in agents]
    hidden = moved(HIDDEN)
    told = [
        f"{weight}: {np.corrcoef(hidden, moved(both(weight)))[0, 1]:.2f}, self side held "
        f"{np.corrcoef(hidden, moved(held(weight)))[0, 1]:.2f}"
        for weight in weights
    ]
    return (
        f"Correlation over {len(agents)} agents between what hiding red does to its trapping and what SOO does, by "
        f"weight: {'; '.join(told)}."
    )


def _by_red(rows: Rows, weights: Sequence[str]) -> str:
    reds = sorted({row["red"] for row in rows})
    conditions = (DECEPTIVE, HIDDEN, STILL, MORE, *map(both, weights), BLIND)
    lines = []
    for condition in conditions:
        own = [row for row in rows if row["condition"] == condition and row["metric"] == "trapped"]
        mean = lambda red, own=own: np.mean([row["value"] for row in own if row["red"] == red])
        lines.append((condition, *(f"{mean(red):.2f}" for red in reds)))
    return table(("", *(f"red {red}" for red in reds)), lines)


def _cell(summary: Summary | None, name: str) -> str:
    return level(summary, metric(name, WORDS))
