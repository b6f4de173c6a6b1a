"""Sweeps of agents: a line for each combination, and a map over the two numbers that vary most."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from typing import TYPE_CHECKING, Any

import numpy as np

from soo_jax.report.rl.tables import main_metrics
from soo_jax.report.rl.words import metric, words_of
from soo_jax.report.settings_map import Axis, Panel, settings_map
from soo_jax.report.style import LIGHT, Theme
from soo_jax.report.terminal import plain_table
from soo_jax.rl.games.words import Words
from soo_jax.rl.statistics import Summary, aggregate

if TYPE_CHECKING:
    from rich.table import Table

    from soo_jax.runs import Run

AFTER = "soo"
_NOT_SETTINGS = {"condition", "red", "seed", "kind", "metric", "value", "episodes", "preset", "source"}
CAPTION = "Means over agents (reds and seeds) after SOO, the mean before it in brackets."
MAP = "After SOO, mean over agents. Where more than two numbers vary, a field is the mean over the others."


@dataclass(frozen=True)
class Combination:
    """One combination of values with what came of it.

    Attributes:
      values: by name. after: means by metric. before: of the agents that were fine-tuned, as far as they were measured.
    """

    values: dict[str, float]
    after: dict[str, Summary]
    before: dict[str, Summary]


def is_sweep(run: Run) -> bool:
    """Whether the run varied numbers, whatever it is called."""
    return "vary" in run.config.get("settings", {})


def combinations(run: Run) -> list[Combination]:
    """The combinations of a sweep, in the order in which they were trained."""
    settings: dict[str, dict[str, float]] = {}
    for row in run.rows:
        settings.setdefault(row["condition"], {k: v for k, v in row.items() if k not in _NOT_SETTINGS})
    cells = aggregate(run.rows)
    of = lambda condition: {name: found for (own, name), found in cells.items() if own == condition}
    before = {condition: own for condition, own in settings.items() if condition.split(" ")[0] == "deceptive"}
    found = []
    for condition, values in settings.items():
        if condition.split(" ")[0] != AFTER:
            continue
        begun = next((name for name, own in before.items() if own.items() <= values.items()), None)
        found.append(Combination(values, of(condition), {} if begun is None else of(begun)))
    return found


def metrics_of(found: Sequence[Combination], words: Words) -> list[str]:
    """The metrics that are shown: behaviour first, four at most."""
    return [name for name in main_metrics(found[0].after, words) if name in found[0].after][:4] if found else []


def sweep_table(runs: Sequence[Run]) -> Table:
    """A rich table with one line for each combination."""
    (run,) = runs
    found, words = combinations(run), words_of(run)
    table = plain_table(title=f"Combinations: {run.path.name}", caption=CAPTION)
    names, shown = list(found[0].values) if found else [], metrics_of(found, words)
    for name in (*names, "agents", *(metric(one, words).title for one in shown)):
        table.add_column(name.replace("_", " "), justify="right")
    for one in found:
        count = max((summary.n for summary in one.after.values()), default=0)
        cells = [_cell(one, name, metric(name, words).digits) for name in shown]
        table.add_row(*(f"{one.values[name]:g}" for name in names), str(count), *cells)
    return table


def _cell(one: Combination, name: str, digits: int) -> str:
    told = lambda found: f"{found.mean:.{digits}f}"
    return told(one.after[name]) + (f" ({told(one.before[name])})" if name in one.before else "")


def sweep_map(found: Sequence[Combination], words: Words, theme: Theme = LIGHT) -> bytes:
    """A map for each metric over the two numbers with the most values.

    Returns:
      A PNG.
    """
    names = sorted(found[0].values, key=lambda name: -len({one.values[name] for one in found}))
    across, up = names[0], names[1] if len(names) > 1 else None
    columns = sorted({one.values[across] for one in found})
    rows: list[Any] = sorted({one.values[up] for one in found}) if up else [None]
    panels = []
    for name in metrics_of(found, words):
        fields = np.full((len(rows), len(columns)), np.nan)
        for (i, j), _ in np.ndenumerate(fields):
            here = [one for one in found if one.values[across] == columns[j] and (not up or one.values[up] == rows[i])]
            means = [one.after[name].mean for one in here if name in one.after]
            fields[i, j] = np.mean(means) if means else np.nan
        shown = metric(name, words)
        low, high = (0.0, 1.0) if shown.fraction else (float(np.nanmin(fields)), float(np.nanmax(fields)))
        text = lambda value, digits=shown.digits: f"{value:.{digits}f}"
        panels.append(Panel(shown.title, fields, low, high, theme.deceptive, text))
    return settings_map(panels, Axis(across, columns), Axis(up, rows), theme)
