"""Which answers of which runs stand against each other, and what that shows: ``soo compare``, and part of a report."""

from __future__ import annotations

import json
from collections.abc import Sequence
from contextlib import suppress
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from soo_jax.errors import SooError
from soo_jax.files import write_atomically
from soo_jax.runs import Run, read_run
from soo_jax.sides import split_side
from soo_jax.tasks.comparison import FEW_SEEDS, Difference, compare
from soo_jax.tasks.statistics import AFTER, apart


@dataclass(frozen=True)
class Side:
    """The answers of one condition of one run."""

    title: str
    condition: str
    responses: list[dict[str, Any]]


@dataclass(frozen=True)
class Comparison:
    """One table: two sides, one measure, a difference for every family.

    Attributes:
      notes: what a reader of the table should know, in words.
    """

    before: str
    after: str
    measure: str
    within: float
    differences: list[Difference]
    notes: list[str]


def compare_runs(names: Sequence[str], measures: Sequence[str] | None = None, within: float = 5.0) -> list[Comparison]:
    """Compares conditions of one run with its base, or of further runs with the first.

    Args:
      names: run folders, each alone or as ``FOLDER:CONDITION``; without one ``soo`` is meant, where there is it.
      measures: keys of ``MEASURES``; None takes ``honest``, and ``throughout`` where it makes a difference.
      within: points within which controls count as the same.

    Raises:
      SooError: a run that cannot be read, has no answers or not this condition, or was asked other questions.
    """
    first, *others = _sides(names)
    found = []
    for other in others:
        for measure in measures or _telling(first, other):
            differences = compare(first.responses, other.responses, measure, within)
            notes = _notes(differences)
            found.append(Comparison(first.title, other.title, measure, within, differences, notes))
    return found


def within_run(run: Run, within: float = 5.0) -> list[Comparison]:
    """What :func:`compare_runs` says of one run; nothing where it has no base to compare with, or no answers."""
    sides = {side.condition: side for side in _conditions(run)}
    base = sides.pop("base", None)
    if base is None:
        return []
    found = []
    for other in sorted(sides.values(), key=lambda side: side.condition.split()[0] != AFTER):
        for measure in _telling(base, other):
            with suppress(SooError):  # of a run that was interrupted the two may share no question
                differences = compare(base.responses, other.responses, measure, within)
                found.append(Comparison(base.title, other.title, measure, within, differences, _notes(differences)))
    return found


def between(run: Run, condition: str, measure: str, within: float = 5.0) -> Comparison | None:
    """One condition of a run beside its base, by one measure; None where either has no answers to compare."""
    sides = {side.condition: side for side in _conditions(run)}
    if "base" not in sides or condition not in sides:
        return None
    base, other = sides["base"], sides[condition]
    with suppress(SooError):  # of a run that was interrupted the two may share no question
        differences = compare(base.responses, other.responses, measure, within)
        return Comparison(base.title, other.title, measure, within, differences, _notes(differences))
    return None


def difference_rows(comparisons: Sequence[Comparison]) -> list[dict[str, Any]]:
    """Every difference as one flat row (fields: docs/data.md)."""
    return [
        {"before_run": one.before, "after_run": one.after, "measure": one.measure, "within": one.within}
        | {name: value for name, value in vars(row).items() if name != "seeds"}
        | {"before_seeds": row.seeds[0], "after_seeds": row.seeds[1], "verdict": row.verdict}
        for one in comparisons
        for row in one.differences
    ]


def write_comparisons(path: Path, comparisons: Sequence[Comparison]) -> None:
    """Writes every difference as one flat row of a JSON list, whole or not at all."""
    rows = difference_rows(comparisons)
    write_atomically(path, "[\n" + ",\n".join(json.dumps(row) for row in rows) + "\n]\n")


def _sides(names: Sequence[str]) -> list[Side]:
    if not names:
        raise SooError("compare: no run folder is given; name at least one")
    if len(names) == 1:
        sides = _answered(names[0])
        base = [side for side in sides if side.condition == "base"]
        if not base or len(sides) < 2:
            raise SooError(f"{names[0]}: has no base and another condition to compare it with; name two runs")
        return [*base, *(side for side in sides if side.condition != "base")]
    return [_named(name) for name in names]


def _named(name: str) -> Side:
    folder, condition = split_side(name)
    sides = {side.condition: side for side in _answered(folder)}
    told = ", ".join(sides)
    if condition:
        if condition not in sides:
            raise SooError(f"{folder}: has no condition {condition!r}; it has {told}")
        return sides[condition]
    own = [one for one in sides if one.split()[0] == AFTER] or list(sides)
    if len(own) > 1:
        raise SooError(f"{name}: has several conditions; name one of {told}, as in '{name}:{own[0]}'")
    return sides[own[0]]


def _answered(folder: str) -> list[Side]:
    sides = _conditions(read_run(folder))
    if not sides:
        raise SooError(f"{folder}: holds no answers that could be compared")
    return sides


def _conditions(run: Run) -> list[Side]:
    """The conditions that were asked; what the settings of members set apart is apart."""
    asked = [row for row in run.responses if {"condition", "seed", "family", "order", "index", "label"} <= set(row)]
    by_name: dict[str, list[dict[str, Any]]] = {}
    for row in apart(asked):
        by_name.setdefault(row["condition"], []).append(row)
    return [Side(f"{run.path.name}:{name}", name, rows) for name, rows in by_name.items()]


def _telling(one: Side, other: Side) -> list[str]:
    """Acts, and acts without stated ill intent where some say that they mean to mislead."""
    told = any(
        row["label"] == "honest" and row.get("intent") == "mislead" for row in (*one.responses, *other.responses)
    )
    return ["honest", "throughout"] if told else ["honest"]


def _notes(differences: Sequence[Difference]) -> list[str]:
    seeds = min((count for row in differences for count in row.seeds if count > 1), default=None)
    notes = []
    if seeds is not None and seeds < FEW_SEEDS:
        notes.append(f"{seeds} seeds say little about seeds that were not tried; take {FEW_SEEDS} or more")
    return notes
