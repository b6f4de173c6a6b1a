"""Charts of language models as PNG: rates by scenario, distances by layer, losses by seed.

Colour says what is counted, fill says when: hollow before, full after.
"""

from __future__ import annotations

import math
from collections import defaultdict
from collections.abc import Sequence
from dataclasses import dataclass
from typing import TYPE_CHECKING, Any

from matplotlib.figure import Figure
from matplotlib.ticker import MaxNLocator

from soo_jax.report.llm.tables import contradicts
from soo_jax.report.llm.words import (
    condition_title,
    families_in_sequence,
    family_title,
    in_sequence,
    order_title,
    site_title,
)
from soo_jax.report.style import LIGHT, WIDTH, Theme, add_legend, handle, legend_columns, new_figure, styled, to_png
from soo_jax.tasks.statistics import Cell, Rate, apart, controls_among, mean_sd, orders_in_sequence

if TYPE_CHECKING:
    from matplotlib.axes import Axes
    from matplotlib.figure import Figure

_OWN_MARKERS = "^vP*X"


def rates_chart(cells: Sequence[Cell], label: str, theme: Theme = LIGHT) -> bytes:
    """``honest`` or ``deceptive`` answers in per cent by scenario and order: every condition with its 95 % interval.

    Args:
      cells: aggregated rows, orders apart.
      label: which rate.

    Returns:
      A PNG. Where honest acts come with words that mean to mislead, a hollow triangle marks the rate without them.
    """
    families, known = families_in_sequence(cell.family for cell in cells), controls_among(cells)
    rivals = [family for family in families if family not in known]
    controls = [family for family in families if family in known]
    conditions = in_sequence(cell.condition for cell in cells)
    lines = _lines(rivals, controls, cells)
    several = any(cell.seeds > 1 for cell in cells)
    contradicted = label == "honest" and any(map(contradicts, cells))
    names = _legend_names(conditions, several, contradicted)
    head = 0.16 + 0.2 * math.ceil(len(names) / legend_columns(names))
    height = 0.178 * (lines[-1].y + 1) + 0.74 + head
    with styled(theme):
        # Fixed margins in inches: two columns of words on the left, the legend above, the axis below.
        figure, axes = new_figure(theme, height, layout=None)
        figure.subplots_adjust(left=2.2 / WIDTH, right=1 - 0.17 / WIDTH, bottom=0.5 / height, top=1 - head / height)
        ax = axes[0][0]
        for line in lines:
            _rate_line(ax, line, [c for c in cells if (c.family, c.order) == (line.family, line.order)], label, theme)
        _label_lines(ax, lines, bool(rivals), controls, theme)
        ax.set(xlim=(-2, 102), ylim=(lines[-1].y + 0.8, -1.6 if rivals and controls else -0.8), yticks=[])
        in_controls = {"honest": "right", "deceptive": "wrong"}.get(label, label)
        ax.set_xlabel(f"{label} answers, %" + (f"   (controls: {in_controls} answers)" if controls else ""))
        ax.xaxis.grid(True)
        ax.spines["left"].set_visible(False)
        if contradicted:
            _mark_honest_throughout(ax, lines, cells, theme)
        _condition_legend(figure, conditions, getattr(theme, label), several, contradicted, theme)
        return to_png(figure)


def latent_chart(rows: Sequence[dict[str, Any]], theme: Theme = LIGHT) -> bytes:
    """Distance between self and other by layer, raw and normalised, one row of panels per site.

    Thin lines are seeds, thick lines their mean; dashed is before.
    """
    rows = apart(rows)
    sites = list(dict.fromkeys(row["site"] for row in rows))
    conditions = in_sequence(row["condition"] for row in rows)
    with styled(theme):
        figure, axes = new_figure(theme, 1.55 * len(sites) + 0.85, len(sites), 2, sharex=True)
        for i, site in enumerate(sites):
            for j, measure in enumerate(("mse", "normalised")):
                ax = axes[i][j]
                for condition in conditions:
                    mine = [r for r in rows if (r["site"], r["condition"]) == (site, condition)]
                    _layer_curves(ax, mine, measure, _condition_line(condition, conditions, theme))
                ax.set_title(f"{site_title(site)}, {'raw' if measure == 'mse' else 'normalised'}", loc="left")
                ax.set_ylim(bottom=0)
                ax.yaxis.grid(True)
                ax.yaxis.set_major_locator(MaxNLocator(4))
                ax.xaxis.set_major_locator(MaxNLocator(6, integer=True))
                if i == len(sites) - 1:
                    ax.set_xlabel("layer")
        _line_legend(figure, conditions, theme)
        return to_png(figure)


_MEASURED = ("drift", "grad_norm")


def loss_chart(rows: Sequence[dict[str, Any]], theme: Theme = LIGHT) -> bytes:
    """Loss and metrics by step, one line per seed (and learning rate, where several were tried).

    A cross marks where a number stopped being finite.
    """
    names = list(dict.fromkeys(name for row in rows for name in row))
    # What stands before the loss tells the members apart; earlier versions wrote two metrics there, too.
    metrics = names[names.index("loss") :] + [name for name in names[: names.index("loss")] if name in _MEASURED]
    settings = [name for name in names if name not in metrics and name not in ("seed", "step")]
    metrics = [m for m in metrics if any(_finite(row.get(m)) for row in rows)][:4] or ["loss"]
    members = defaultdict(list)
    for row in rows:
        own = "".join(f", {name.replace('_', ' ')} {row[name]}" for name in settings)
        members[f"seed {row['seed']}{own}"].append(row)
    with styled(theme):
        figure, axes = new_figure(theme, 1.75 * len(metrics) + 0.75, len(metrics), 1, sharex=True)
        for i, metric in enumerate(metrics):
            ax = axes[i][0]
            for k, own in enumerate(members.values()):
                _seed_curve(ax, own, metric, theme.apart[k % len(theme.apart)])
            values = [row[metric] for row in rows if _finite(row.get(metric))]
            if values and min(values) > 0 and max(values) > 30 * min(values):
                ax.set_yscale("log")
            else:
                ax.yaxis.set_major_locator(MaxNLocator(4))
            ax.set_title(metric.replace("_", " "), loc="left")
            ax.yaxis.grid(True)
        axes[-1][0].set_xlabel("step")
        axes[-1][0].xaxis.set_major_locator(MaxNLocator(6, integer=True))
        if len(members) <= 10:
            handles = [handle(theme.apart[k % len(theme.apart)], "-") for k in range(len(members))]
            add_legend(figure, handles, list(members), theme, columns=legend_columns(list(members)))
        return to_png(figure)


def compare_chart(runs: Sequence[tuple[str, Sequence[Cell]]], label: str = "honest", theme: Theme = LIGHT) -> bytes:
    """One rate of several runs after fine-tuning, by scenario with both orders pooled.

    Args:
      runs: name and pooled cells of each run, one condition each.
    """
    families = families_in_sequence(cell.family for _, cells in runs for cell in cells)
    with styled(theme):
        figure, axes = new_figure(theme, 0.15 * len(families) * (len(runs) + 1) + 0.8 + 0.22 * math.ceil(len(runs) / 2))
        ax = axes[0][0]
        step = 0.8 / len(runs)
        for k, (_, cells) in enumerate(runs):
            for cell in cells:
                y = families.index(cell.family) + (k - (len(runs) - 1) / 2) * step
                colour = theme.apart[k % len(theme.apart)]
                _interval(ax, y, getattr(cell, label), colour)
                ax.plot(getattr(cell, label).mean, y, "osD^vP*"[k % 7], color=colour, markersize=5)
        ax.set(xlim=(-2, 102), ylim=(len(families) - 0.4, -0.6))
        ax.set_yticks(range(len(families)), [family_title(f) for f in families])
        ax.set_xlabel(f"{label} answers, % (controls: right or wrong)")
        ax.xaxis.grid(True)
        ax.spines["left"].set_visible(False)
        handles = [handle(theme.apart[k % len(theme.apart)], "", marker="osD^vP*"[k % 7]) for k in range(len(runs))]
        add_legend(figure, handles, [name for name, _ in runs], theme, columns=2)
        return to_png(figure)


# ---- rates --------------------------------------------------------------------------------------------------------


@dataclass(frozen=True)
class _Line:
    family: str
    order: str
    y: float


def _lines(rivals: Sequence[str], controls: Sequence[str], cells: Sequence[Cell]) -> list[_Line]:
    lines, y = [], 0.0
    for group in (rivals, controls):
        for family in group:
            for order in orders_in_sequence(cell.order for cell in cells if cell.family == family):
                lines.append(_Line(family, order, y))
                y += 1
            y += 0.55
        y += 1.5
    return lines


def _rate_line(ax: Axes, line: _Line, cells: Sequence[Cell], label: str, theme: Theme) -> None:
    colour = getattr(theme, label)
    at = {cell.condition: getattr(cell, label) for cell in cells}
    if "base" in at and "soo" in at:
        ax.plot([at["base"].mean, at["soo"].mean], [line.y] * 2, color=colour, alpha=0.22, linewidth=4.5, zorder=1,
                solid_capstyle="butt")  # fmt: skip
    for k, condition in enumerate(in_sequence(at)):
        rate = at[condition]
        shade = theme.request if condition == "honesty_prompt" else colour
        shade = theme.muted if condition == "base" else shade
        _interval(ax, line.y, rate, shade)
        if len(rate.values) > 1:  # every seed, so that one that went astray is seen
            ax.plot(rate.values, [line.y] * len(rate.values), "|", color=shade, markersize=6, alpha=0.7, zorder=2)
        ax.plot(rate.mean, line.y, **_marker(condition, shade, theme, k), zorder=4 if condition == "soo" else 3)


def _marker(condition: str, shade: str, theme: Theme, k: int) -> dict[str, Any]:
    if condition == "base":
        return {
            "marker": "o",
            "markersize": 5.2,
            "color": theme.surface,
            "markeredgecolor": shade,
            "markeredgewidth": 1.3,
        }
    shape = {"soo": "o", "honesty_prompt": "D"}.get(condition, _OWN_MARKERS[k % len(_OWN_MARKERS)])
    return {"marker": shape, "markersize": 4 if shape == "D" else 5.6, "color": shade, "markeredgewidth": 0}


def _interval(ax: Axes, y: float, rate: Rate, colour: str) -> None:
    ax.plot([rate.lo, rate.hi], [y, y], color=colour, linewidth=1.3, zorder=2, solid_capstyle="round")


def _label_lines(ax: Axes, lines: Sequence[_Line], rivals: bool, controls: Sequence[str], theme: Theme) -> None:
    place = ax.get_yaxis_transform()
    for family in dict.fromkeys(line.family for line in lines):
        own = [line for line in lines if line.family == family]
        middle = sum(line.y for line in own) / len(own)
        ax.text(-0.36, middle, family_title(family), transform=place, ha="right", va="center")
        for line in own:
            title = order_title(family in controls, line.order)
            ax.text(-0.035, line.y, title, transform=place, ha="right", va="center", fontsize=7.5, color=theme.muted)
    if rivals and controls:
        first = next(line.y for line in lines if line.family in controls)
        for y, text in ((-1.15, "against a rival"), (first - 1.15, "controls: nobody gains by deceiving")):
            ax.text(-0.77, y, text, transform=place, ha="left", va="center", fontsize=8.5, color=theme.muted,
                    style="italic")  # fmt: skip


_THROUGHOUT: dict[str, Any] = {"marker": "<", "markersize": 5, "markeredgewidth": 1.1}


def _mark_honest_throughout(ax: Axes, lines: Sequence[_Line], cells: Sequence[Cell], theme: Theme) -> None:
    """What is left of the honest acts without those that say that they mean to mislead."""
    for line in lines:
        for cell in cells:
            if (cell.family, cell.order) == (line.family, line.order) and contradicts(cell):
                style = {**_THROUGHOUT, "color": theme.surface, "markeredgecolor": theme.deceptive}
                ax.plot([cell.honest_throughout, cell.honest.mean], [line.y] * 2, ":", color=theme.deceptive, zorder=2)
                ax.plot(cell.honest_throughout, line.y, zorder=5, **style)


def _condition_legend(
    figure: Figure, conditions: Sequence[str], colour: str, several: bool, contradicted: bool, theme: Theme
) -> None:
    handles, names = [], _legend_names(conditions, several, contradicted)
    for k, condition in enumerate(conditions):
        shade = {"base": theme.muted, "honesty_prompt": theme.request}.get(condition, colour)
        handles.append(handle(shade, "", **_marker(condition, shade, theme, k)))
    if several:
        handles.append(handle(colour, "", marker="|", markersize=7))
    if contradicted:
        handles.append(handle(theme.surface, "", **_THROUGHOUT, markeredgecolor=theme.deceptive))
    add_legend(figure, handles, names, theme, columns=legend_columns(names))


def _legend_names(conditions: Sequence[str], several: bool, contradicted: bool) -> list[str]:
    further = ["each seed"] * several + ["without stated ill intent"] * contradicted
    return [condition_title(condition) for condition in conditions] + further


# ---- curves -------------------------------------------------------------------------------------------------------


def _layer_curves(ax: Axes, rows: Sequence[dict[str, Any]], measure: str, line: tuple[str, str]) -> None:
    colour, style = line
    by_layer, by_seed = defaultdict(list), defaultdict(list)
    for row in rows:
        if _finite(row.get(measure)):
            by_layer[row["layer"]].append(row[measure])
            by_seed[row["seed"]].append((row["layer"], row[measure]))
    if len(by_seed) > 1:
        for points in by_seed.values():
            ax.plot(*zip(*sorted(points), strict=True), color=colour, linewidth=0.7, alpha=0.35)
    if by_layer:
        layers = sorted(by_layer)
        means = [mean_sd(by_layer[layer])[0] for layer in layers]
        ax.plot(layers, means, style, color=colour, linewidth=1.9, marker="o", markersize=3)


def _condition_line(condition: str, conditions: Sequence[str], theme: Theme) -> tuple[str, str]:
    """Colour and style: before is grey and dashed; after is blue, or one colour each where members differ."""
    fixed = {"base": (theme.muted, "--"), "honesty_prompt": (theme.request, ":")}
    own = [name for name in conditions if name not in fixed]
    if condition in fixed or len(own) == 1:
        return fixed.get(condition, (theme.honest, "-"))
    return theme.apart[own.index(condition) % len(theme.apart)], "-"


def _line_legend(figure: Figure, conditions: Sequence[str], theme: Theme) -> None:
    handles = [handle(*_condition_line(condition, conditions, theme), marker="o") for condition in conditions]
    names = [condition_title(c) for c in conditions]
    add_legend(figure, handles, names, theme, columns=legend_columns(names))


def _seed_curve(ax: Axes, rows: Sequence[dict[str, Any]], metric: str, colour: str) -> None:
    points = [(row["step"], row[metric]) for row in rows if _finite(row.get(metric))]
    if not points:
        return
    ax.plot(*zip(*points, strict=True), color=colour, linewidth=1.1, alpha=0.85)
    if any(metric in row and not _finite(row[metric]) for row in rows):
        ax.plot(*points[-1], "X", color=colour, markersize=8, markeredgecolor="white", clip_on=False, zorder=5)


def _finite(value: Any) -> bool:
    return isinstance(value, int | float) and math.isfinite(value)
