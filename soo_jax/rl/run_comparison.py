"""Which agents of which runs stand against each other, and what that shows: ``soo compare`` of runs of agents."""

from __future__ import annotations

import json
from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from soo_jax.errors import SooError
from soo_jax.files import write_atomically
from soo_jax.rl.comparison import FEW_REDS, Difference, Values, differences
from soo_jax.rl.games import GAMES, game
from soo_jax.rl.games.words import Words, words_from
from soo_jax.rl.statistics import FEWEST, agent_rows
from soo_jax.runs import Run, read_run
from soo_jax.sides import split_side

DECEPTIVE = "deceptive"


@dataclass(frozen=True)
class Side:
    """The agents of one condition of one run."""

    title: str
    condition: str
    run: Run
    metrics: dict[str, Values]


@dataclass(frozen=True)
class Comparison:
    """One table: two sides, a difference for every metric.

    Attributes:
      within: how far apart controls count as the same, in points of per cent. words: how metrics are shown.
      notes: what a reader of the table should know, in words.
    """

    before: str
    after: str
    within: float
    differences: list[Difference]
    words: Words
    notes: list[str]


def compare_agents(
    names: Sequence[str], measures: Sequence[str] | None = None, within: float = 5.0
) -> list[Comparison]:
    """Compares conditions of one run with its deceptive agents, or of further runs with the first.

    Args:
      names: run folders, each alone or as ``FOLDER:CONDITION``; without one ``soo`` is meant, where there is it.
      measures: metrics; None takes those that the game shows first, and its controls.
      within: points of per cent within which controls (``Words.controls``) count as the same.

    Raises:
      SooError: a run that cannot be read or has not this condition, runs of two games, an unknown metric, or agents
        of which no two have the same red and seed.
    """
    if not within > 0:
        raise SooError(f"compare: within must be above 0 points, found {within:g}")
    first, *others = _sides(names)
    found = []
    for other in others:
        words = _words(first, other)
        chosen = _chosen(first, other, words, measures)
        sides = [{name: side.metrics[name] for name in chosen} for side in (first, other)]
        rows = differences(*sides, words.controls, within / 100)
        if not rows:
            partner = f"a partner of the same {words.opponent} and seed in {other.title}"
            raise SooError(f"compare: no agent of {first.title} has {partner}")
        found.append(Comparison(first.title, other.title, within, rows, words, _notes(first, other, rows, words)))
    return found


def write_comparisons(path: Path, comparisons: Sequence[Comparison]) -> None:
    """Writes every difference as one flat row of a JSON list (fields: docs/data.md), whole or not at all."""
    rows = [
        {"before_run": one.before, "after_run": one.after, "within": one.within, **vars(row), "verdict": row.verdict}
        for one in comparisons
        for row in one.differences
    ]
    write_atomically(path, "[\n" + ",\n".join(json.dumps(row) for row in rows) + "\n]\n")


def _sides(names: Sequence[str]) -> list[Side]:
    if not names:
        raise SooError("compare: no run folder is given; name at least one")
    if len(names) > 1:
        return [_named(name) for name in names]
    sides = _conditions(names[0])
    told = read_run(names[0]).config.get("settings", {})
    start = told.get("start", DECEPTIVE) if isinstance(told, dict) else DECEPTIVE
    if start not in sides or len(sides) < 2:
        raise SooError(
            f"{names[0]}: has no {start} agents and others to compare them with; name two sides, as in "
            f"'{names[0]}:{next(iter(sides))}'"
        )
    return [sides.pop(start), *sides.values()]


def _named(name: str) -> Side:
    folder, condition = split_side(name)
    sides = _conditions(folder)
    told = ", ".join(sides)
    if condition:
        if condition not in sides:
            raise SooError(f"{folder}: has no condition {condition!r}; it has {told}")
        return sides[condition]
    own = [one for one in sides if one == "soo"] or list(sides)
    if len(own) > 1:
        raise SooError(f"{name}: has several conditions; name one of {told}, as in '{name}:{own[0]}'")
    return sides[own[0]]


def _conditions(folder: str) -> dict[str, Side]:
    run = read_run(folder)
    found: dict[str, dict[str, dict[Any, Any]]] = {}
    for row in agent_rows(run.rows):
        metrics = found.setdefault(row["condition"], {})
        metrics.setdefault(row["metric"], {})[row.get("red"), row.get("seed")] = row["value"]
    if not found:
        raise SooError(f"{folder}: holds no measures of agents that could be compared")
    return {name: Side(f"{run.path.name}:{name}", name, run, metrics) for name, metrics in found.items()}


def _words(one: Side, other: Side) -> Words:
    games = [side.run.config.get("game", "physical_deception") for side in (one, other)]
    if games[0] != games[1]:
        raise SooError(f"compare: {one.title} plays {games[0]} and {other.title} plays {games[1]}; compare one game")
    known = game(games[0]).words if games[0] in GAMES else Words()
    told = one.run.config.get("words")
    words = words_from(told, str(one.run.path / "config.json")) if isinstance(told, dict) else known
    return words if words.controls or not known.controls else words.with_controls(known.controls)


def _chosen(one: Side, other: Side, words: Words, measures: Sequence[str] | None) -> list[str]:
    shared = [name for name in one.metrics if name in other.metrics]
    for name in measures or ():
        if name not in shared:
            raise SooError(f"compare: there is no measure {name!r}; choose among {', '.join(shared)}")
    if measures:
        return list(dict.fromkeys(measures))
    known = words.behaviour | words.overlap
    first = [name for name, shown in known.items() if shown.heading] or [*words.behaviour, "soo_log"]
    return [name for name in dict.fromkeys([*first, *words.controls]) if name in shared] or shared


def _notes(one: Side, other: Side, rows: Sequence[Difference], words: Words) -> list[str]:
    notes, reds = [], min(row.reds for row in rows)
    agents = min(row.agents for row in rows)
    if reds == 1:
        notes.append(f"all agents met one {words.opponent}, of which alone this speaks")
    if (agents if reds == 1 else reds) < FEWEST:
        notes.append(f"intervals and tests need {FEWEST} {words.opponent}s, or {FEWEST} agents of a single one")
    elif 1 < reds < FEW_REDS:
        notes.append(
            f"{reds} {words.opponent}s say little about {words.opponent}s that were not tried; take {FEW_REDS}"
        )
    if missing := max(row.missing for row in rows):
        notes.append(f"up to {missing} agents have no value on one side, and are left out")
    if _opponents(one.run) != _opponents(other.run):
        notes.append(f"the runs trained their {words.opponent}s with other settings: pairs share no more than a number")
    return notes


def _opponents(run: Run) -> Any:
    """What the opponents of a run were made with, as far as it is told."""
    recipe = run.config.get("recipe", {})
    return [recipe.get("follower_world"), recipe.get("follower")] if isinstance(recipe, dict) else None
