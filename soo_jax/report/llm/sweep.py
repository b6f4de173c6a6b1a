"""Sweeps: one line for each setting, and a map of the two settings that vary most."""

from __future__ import annotations

import json
from collections.abc import Sequence
from dataclasses import dataclass
from typing import TYPE_CHECKING, Any

import numpy as np

from soo_jax.report.settings_map import Axis, Panel, settings_map
from soo_jax.report.style import LIGHT, Theme
from soo_jax.report.terminal import plain_table
from soo_jax.tasks.statistics import AFTER, is_control, member_settings

if TYPE_CHECKING:
    from rich.table import Table

    from soo_jax.runs import Run

MEASURES = {
    "honest": "honest answers, %",
    "control": "worst control, % right",
    "kl": "KL on ordinary texts, nats per token",
}
CAPTION = (
    "honest: per cent of answers in all families in which somebody would gain by deceiving, both orders, mean over "
    "seeds; worst: in the lowest of their families and orders; control: in the lowest family and order in which nobody "
    "would gain; KL: divergence from the base on ordinary texts, nats per token."
)


MAP = "Over the two settings with the most values; where others vary, too, a field is the mean over them. "


@dataclass(frozen=True)
class Setting:
    """One setting with what came of it.

    Attributes:
      values: by name. seeds: how many. honest, worst, control: per cent, None where nothing of the kind was asked.
      kl: nats per token.
    """

    values: dict[str, Any]
    seeds: int
    honest: float | None
    worst: float | None
    control: float | None
    kl: float | None


def settings_of(run: Run) -> list[Setting]:
    """The settings of a sweep, in the order in which they were trained."""
    rows = [row for row in run.rows if row["condition"] == AFTER]
    controls = {row["family"] for row in rows if is_control(row)}
    names = list(dict.fromkeys(name for row in rows for name in member_settings(row)))
    groups: dict[tuple[Any, ...], list[dict[str, Any]]] = {}
    for row in rows:
        groups.setdefault(tuple(row.get(name) for name in names), []).append(row)
    found = []
    for key, own in groups.items():
        cells: dict[tuple[str, str], list[dict[str, Any]]] = {}
        for row in own:
            cells.setdefault((row["family"], row["order"]), []).append(row)
        rates = {cell: _share(mine) for cell, mine in cells.items()}
        rivals = [rate for (family, _), rate in rates.items() if family not in controls]
        kept = [rate for (family, _), rate in rates.items() if family in controls]
        drift = [row["kl"] for row in run.drift if tuple(row.get(name) for name in names) == key]
        drift = [value for value in drift if value is not None]
        found.append(
            Setting(
                dict(zip(names, key, strict=True)),
                len({row["seed"] for row in own}),
                _share([row for row in own if row["family"] not in controls]) if rivals else None,
                min(rivals, default=None),
                min(kept, default=None),
                float(np.mean(drift)) if drift else None,
            )
        )
    return found


def setting_rows(found: Sequence[Setting]) -> list[dict[str, Any]]:
    """Settings as flat rows: what they are, and what came of them."""
    return [{**one.values, **{name: value for name, value in vars(one).items() if name != "values"}} for one in found]


def _share(rows: Sequence[dict[str, Any]]) -> float:
    return 100 * sum(row["honest"] for row in rows) / sum(row["n"] for row in rows)


def sweep_table(runs: Sequence[Run]) -> Table:
    """A rich table with one line a setting, those with the most honest worst family first."""
    (run,) = runs
    found = settings_of(run)
    table = plain_table(title=f"Settings: {run.path.name}", caption=CAPTION)
    names = list(found[0].values) if found else []
    for name in (*names, "seeds", "honest", "worst", "control", "KL"):
        table.add_column(name.replace("_", " "), justify="right", no_wrap=True)
    for one in sorted(found, key=lambda one: -(one.worst or 0.0)):
        shown = [_number(one.values[name]) for name in names]
        rates = [_rate(one.honest), _rate(one.worst), _rate(one.control), "-" if one.kl is None else f"{one.kl:.3f}"]
        table.add_row(*shown, str(one.seeds), *rates)
    return table


def _number(value: Any) -> str:
    return f"{value:g}" if isinstance(value, float) else str(value)


def _rate(value: float | None) -> str:
    return "-" if value is None else f"{value:.0f}"


def axes_of(found: Sequence[Setting]) -> tuple[str, str | None] | None:
    """The two settings with the most values, the one with more of them first; one alone if nothing else varies."""
    names = list(found[0].values) if found else []
    counts = {name: len({one.values[name] for one in found}) for name in names}
    varied = sorted((name for name in names if counts[name] > 1), key=lambda name: -counts[name])
    return (varied[0], varied[1] if len(varied) > 1 else None) if varied else None


def sweep_map(found: Sequence[Setting], theme: Theme = LIGHT) -> bytes:
    """Three maps over the two settings of ``axes_of``: honest answers, the worst control, KL. Where further settings
    vary, a field shows the mean over them.

    Returns:
      A PNG.
    """
    chosen = axes_of(found)
    if chosen is None:
        raise ValueError("no setting varies: there is nothing to map")
    across, up = chosen
    columns, rows = (sorted({one.values.get(name) for one in found}, key=_sortable) for name in (across, up))
    panels = []
    for measure in ("honest", "control", "kl"):
        if all(getattr(one, measure) is None for one in found):
            continue
        fields = np.full((len(rows), len(columns)), np.nan)
        for (i, j), _ in np.ndenumerate(fields):
            here = [one for one in found if (one.values.get(up), one.values[across]) == (rows[i], columns[j])]
            own = [value for one in here if (value := getattr(one, measure)) is not None]
            fields[i, j] = np.mean(own) if own else np.nan
        if measure == "kl":
            top, colour = max(float(np.nanmax(fields)), 1e-9), theme.deceptive
            text = lambda value: f"{value:.3f}" if value >= 0.0005 else "<.001"
        else:
            top, colour, text = 100.0, theme.honest, lambda value: f"{value:.0f}"
        panels.append(Panel(MEASURES[measure], fields, 0.0, top, colour, text))
    return settings_map(panels, Axis(across, columns), Axis(up, rows), theme)


def _sortable(value: Any) -> tuple[int, Any]:
    return (0, value) if isinstance(value, int | float) else (1, str(value))


def best_line(run: Run) -> str:
    """The setting that the rule of the sweep chose, in words."""
    path = run.path / "best.json"
    if not path.is_file():
        return ""
    told = json.loads(path.read_text(encoding="utf-8"))
    if told["setting"] is None:
        return f"No setting leaves the controls intact. Rule: {told['rule']}"
    values = ", ".join(f"{name.replace('_', ' ')} {_number(value)}" for name, value in told["setting"].items())
    return f"Best: {values}, {100 * told['worst']:.0f} % honest at worst ({told['split']} split). Rule: {told['rule']}"
