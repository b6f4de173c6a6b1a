"""Charts of RL runs as PNG: what blue does, how it learned, how it differs, and what gives it away.

Deceptive is vermilion, honest blue, after SOO green; controls take the colours that are left. Small marks are single
agents, so that one that went astray is seen.
"""

from __future__ import annotations

import math
from collections import defaultdict
from collections.abc import Mapping, Sequence
from typing import TYPE_CHECKING, Any

import numpy as np
from matplotlib.collections import LineCollection
from matplotlib.ticker import FixedLocator, MaxNLocator, NullLocator

from soo_jax.report.rl.words import CONDITIONS, condition_title, group, in_sequence, metric, two_lines
from soo_jax.report.style import LIGHT, WIDTH, Theme, add_legend, handle, new_figure, styled, to_png
from soo_jax.rl.games.words import Metric, Words
from soo_jax.rl.statistics import Summary, aggregate, detection_rows, roc

if TYPE_CHECKING:
    from matplotlib.axes import Axes

Row = Mapping[str, Any]

CURVES = ("soo_loss",)
"""What is drawn of every game's training, beside the agents' rewards."""


# ---- what blue does -----------------------------------------------------------------------------------------------


def condition_chart(
    cells: Mapping[tuple[str, str], Summary], metrics: Sequence[str], words: Words, theme: Theme = LIGHT
) -> bytes:
    """One line per condition, one column per metric: mean as a dot, its 95 % interval, every agent as a tick.

    Args:
      cells: ``aggregate`` of a run's rows.
      metrics: which; those that nobody has are left out.
    """
    metrics = [name for name in metrics if any(found.n for (_, other), found in cells.items() if other == name)]
    lines = _lines([condition for condition, name in cells if name in metrics])
    height = 0.2 * (max(lines.values(), default=0) + 1) + 0.75
    with styled(theme):
        figure, axes = new_figure(theme, height, 1, max(len(metrics), 1), layout=None)
        figure.subplots_adjust(left=1.62 / WIDTH, right=1 - 0.12 / WIDTH, bottom=0.32 / height, top=1 - 0.42 / height,
                               wspace=0.16)  # fmt: skip
        for ax, name in zip(axes[0], metrics, strict=False):
            for condition, y in lines.items():
                if (condition, name) in cells:
                    _dot(ax, y, cells[condition, name], condition_line(condition, theme)[0])
            _dress_column(ax, metric(name, words), max(lines.values()), theme)
        _name_lines(axes[0][0], lines, theme)
        return to_png(figure)


def _lines(conditions: Sequence[str]) -> dict[str, float]:
    """Where each condition stands, with room above every group."""
    places, y, previous = {}, 0.0, None
    for condition in in_sequence(conditions):
        y += 0.7 if previous not in (None, group(condition)) else 0.0
        places[condition] = y
        y, previous = y + 1, group(condition)
    return places


def _dot(ax: Axes, y: float, found: Summary, colour: str) -> None:
    if not found.n:
        return
    ax.plot(found.values, [y] * found.n, "|", color=colour, markersize=6, alpha=0.28, zorder=2)
    if found.low is not None:
        ax.plot([found.low, found.high], [y, y], color=colour, linewidth=1.5, zorder=3, solid_capstyle="round")
    ax.plot(found.mean, y, "o", color=colour, markersize=4.6, zorder=4, markeredgewidth=0)


def _dress_column(ax: Axes, shown: Metric, last: float, theme: Theme) -> None:
    ax.set(ylim=(last + 0.7, -0.7), yticks=[])
    ax.spines["left"].set_visible(False)
    ax.xaxis.grid(True)
    ax.set_title(two_lines(shown.title), fontsize=8, loc="left", color=theme.ink, linespacing=1.1)
    if shown.fraction and ax.get_xlim()[1] > 0.5:
        ax.set_xlim(-0.03, 1.03)
        ax.set_xticks([0, 0.5, 1], ["0", "½", "1"])
    else:
        if shown.fraction:
            ax.set_xlim(left=min(-0.005, -0.03 * ax.get_xlim()[1]))
        ax.xaxis.set_major_locator(MaxNLocator(3))
        ax.tick_params(axis="x", labelsize=7.5)


def _name_lines(ax: Axes, lines: Mapping[str, float], theme: Theme) -> None:
    for condition, y in lines.items():
        ax.text(-0.06, y, condition_title(condition), transform=ax.get_yaxis_transform(), ha="right", va="center",
                fontsize=8, color=theme.ink)  # fmt: skip


# ---- how it learned -----------------------------------------------------------------------------------------------


def learning_chart(rows: Sequence[Row], theme: Theme = LIGHT) -> bytes:
    """Rewards and losses by step: the mean of every condition thick, each agent thin; a cross where one diverged."""
    names = list(dict.fromkeys(name for row in rows for name in row))
    own = [name for name in names if name.startswith("reward_")]
    more = [name for name in names if name.startswith(("policy_loss_", "critic_loss_"))]
    metrics = [name for name in (*own[-1:], *CURVES, *own[:-1], *more) if any(row.get(name) for row in rows)][:3]
    conditions = in_sequence(row["condition"] for row in rows)
    agents = defaultdict(list)
    for row in rows:
        agents[row["condition"], row.get("red"), row.get("seed")].append(row)
    with styled(theme):
        height = 1.75 * max(len(metrics), 1) + 0.3 + 0.2 * math.ceil(len(conditions) / 3)
        figure, axes = new_figure(theme, height, max(len(metrics), 1), 1, sharex=True)
        for ax, name in zip(axes[:, 0], metrics, strict=False):
            for condition in conditions:
                own = [rows for (whose, *_), rows in agents.items() if whose == condition]
                _curves(ax, own, name, *condition_line(condition, theme))
            ax.set_title(name.replace("_", " "), loc="left")
            ax.yaxis.grid(True)
            if name == "soo_loss" and all((row.get(name) or 1.0) > 0 for row in rows):
                ax.set_yscale("log")  # one that diverges must not hide the others
            else:
                ax.yaxis.set_major_locator(MaxNLocator(4))
        axes[-1][0].set_xlabel("step")
        axes[-1][0].xaxis.set_major_locator(MaxNLocator(6, integer=True))
        handles = [handle(*condition_line(condition, theme)) for condition in conditions]
        add_legend(figure, handles, [condition_title(c) for c in conditions], theme, columns=3)
        return to_png(figure)


def _curves(ax: Axes, agents: Sequence[Sequence[Row]], name: str, colour: str, dashes: str) -> None:
    """The curves of one condition's agents, and their mean."""
    curves = [[(row["step"], row[name]) for row in own if row.get(name) is not None] for own in agents]
    ax.add_collection(
        LineCollection([points for points in curves if points], colors=colour, linewidths=0.5, alpha=0.22, zorder=1)
    )
    for own, points in zip(agents, curves, strict=True):
        if points and any(name in row and row[name] is None for row in own):
            ax.plot(*points[-1], "X", color=colour, markersize=7, markeredgecolor="white", clip_on=False, zorder=5)
    by_step = defaultdict(list)
    for step, value in (point for points in curves for point in points):
        by_step[step].append(value)
    steps = sorted(by_step)
    ax.plot(steps, [np.mean(by_step[step]) for step in steps], dashes, color=colour, linewidth=1.9, zorder=3)


# ---- how it differs -----------------------------------------------------------------------------------------------


def difference_chart(cells: Mapping[tuple[str, str], Summary], theme: Theme = LIGHT) -> bytes:
    """Bars of the behavioural difference to the deceptive and to the honest agents, under both normalisations."""
    anchors = {"deceptive": theme.deceptive, "honest": theme.honest}
    panels = {"difference_to_": "rates per visible step", "reference_difference_to_": "the reference's counts"}
    shown = [prefix + anchor for prefix in panels for anchor in anchors]
    lines = _lines([condition for condition, name in cells if name in shown])
    height = 0.27 * (max(lines.values(), default=0) + 1) + 0.85
    with styled(theme):
        figure, axes = new_figure(theme, height, 1, 2, layout=None)
        figure.subplots_adjust(left=1.62 / WIDTH, right=1 - 0.17 / WIDTH, bottom=0.32 / height, top=1 - 0.55 / height,
                               wspace=0.14)  # fmt: skip
        for ax, (prefix, title) in zip(axes[0], panels.items(), strict=True):
            for k, (anchor, colour) in enumerate(anchors.items()):
                for condition, y in lines.items():
                    _bar(ax, y + 0.34 * (k - 0.5), cells.get((condition, prefix + anchor)), colour, theme)
            ax.set(ylim=(max(lines.values(), default=0) + 0.7, -0.7), yticks=[], xlim=(0, None))
            ax.set_title(title, loc="left", fontsize=8.5)
            ax.xaxis.grid(True)
            ax.xaxis.set_major_locator(MaxNLocator(4))
        _name_lines(axes[0][0], lines, theme)
        handles = [handle(colour, "-", linewidth=6) for colour in anchors.values()]
        add_legend(figure, handles, [f"to the {anchor}" for anchor in anchors], theme, columns=2)
        return to_png(figure)


def _bar(ax: Axes, y: float, found: Summary | None, colour: str, theme: Theme) -> None:
    if found is None or not found.n:
        return
    ax.barh(y, found.mean, height=0.32, color=colour, zorder=2)
    if found.low is not None:
        ax.plot([max(found.low, 0), found.high], [y, y], color=theme.ink, linewidth=0.9, zorder=3)


# ---- what gives it away -------------------------------------------------------------------------------------------


def detection_chart(rows: Sequence[Row], words: Words, theme: Theme = LIGHT) -> bytes:
    """Telling deceptive from honest agents by their log SOO: by episodes averaged over, and as a ROC of the agents.

    An agent's score is the mean of its episodes in the first three panels, and of all its self views in the ROC.
    """
    found = detection_rows(rows)
    by_steps = dict(zip(words.steps, ("-", "--", ":"), strict=False))
    flagged = _bystanders(found)
    with styled(theme):
        figure, axes = new_figure(theme, 4.5, 2, 2)
        (top, beside), (below, last) = axes
        draw = lambda *what: _by_episodes(*what, by_steps)
        draw(top, found, ["auroc"], [theme.series[2]], "AUROC, mean over episodes")
        draw(beside, found, ["accuracy"], [theme.series[2]], "accuracy")
        colours = [theme.series[(k + 3) % len(theme.series)] for k in range(len(flagged))]
        draw(below, found, flagged, colours, "called deceptive")
        for k, name in enumerate(flagged):
            below.text(0.97, 0.06 + 0.11 * k, condition_title(name.removeprefix("flagged_")), color=colours[k],
                       transform=below.transAxes, ha="right", fontsize=8,
                       bbox={"facecolor": theme.surface, "edgecolor": "none", "alpha": 0.8, "pad": 1})  # fmt: skip
        for ax in (top, beside):
            ax.axhline(0.5, color=theme.muted, linewidth=0.8, linestyle=":")
        _roc_curves(last, aggregate(rows), words, by_steps, theme)
        handles = [handle(theme.series[2], line) for line in by_steps.values()]
        add_legend(figure, handles, [words.steps[name] for name in by_steps], theme, columns=2)
        return to_png(figure)


def _bystanders(rows: Sequence[Row], most: int = 4) -> list[str]:
    """Whom the detector is asked about in the chart: agents of other runs, then SOO and its plainest controls."""
    names = list(dict.fromkeys(row["metric"] for row in rows if row["metric"].startswith("flagged_")))
    plain = [f"flagged_{condition}" for condition in ("soo", "control:more_rl", "control:hidden", "avoid")]
    own = {f"flagged_{prefix}" for prefix in ("soo", "control", "relapse")}
    foreign = [name for name in names if ":" in name and name.split(":")[0] not in own]
    return (foreign + [name for name in plain if name in names])[:most]


def _by_episodes(
    ax: Axes,
    rows: Sequence[Row],
    names: Sequence[str],
    colours: Sequence[str],
    title: str,
    by_steps: Mapping[str, str],
) -> None:
    for name, colour in zip(names, colours, strict=True):
        for steps, line in by_steps.items():
            own = [row for row in rows if (row["metric"], row["steps"]) == (name, steps) and row["value"] is not None]
            points = sorted((row["episodes"], row["value"]) for row in own)
            if points:
                ax.plot(*zip(*points, strict=True), line, color=colour, linewidth=1.7, marker="o", markersize=2.6)
    ax.set_title(title, loc="left")
    ax.set(ylim=(-0.03, 1.03), xlabel="episodes averaged over")
    ax.set_yticks([0, 0.5, 1], ["0", "½", "1"])
    ax.yaxis.grid(True)
    if ax.has_data():
        ax.set_xscale("log")
        ticks = [n for n in (1, 10, 100, 1000, 10_000) if ax.get_xlim()[0] <= n <= ax.get_xlim()[1]]
        ax.xaxis.set(major_locator=FixedLocator(ticks), minor_locator=NullLocator(), major_formatter="{x:.0f}")
    else:
        ax.set_xticks([])
        ax.text(0.5, 0.5, "not measured", transform=ax.transAxes, ha="center", va="center", fontsize=8)


def _roc_curves(
    ax: Axes, cells: Mapping[tuple[str, str], Summary], words: Words, by_steps: Mapping[str, str], theme: Theme
) -> None:
    ax.plot([0, 1], [0, 1], ":", color=theme.muted, linewidth=0.8)
    for k, (steps, line) in enumerate(by_steps.items()):
        name = f"soo_log_{steps}" if k else "soo_log"
        bad, good = (cells.get((condition, name)) for condition in ("deceptive", "honest"))
        if bad and good and bad.n and good.n:
            wrong, right = roc(bad.values, good.values)
            ax.plot(wrong, right, line, color=theme.series[2], linewidth=1.7, clip_on=False)
            area = np.trapezoid(right, wrong)
            ax.text(
                0.97,
                0.16 - 0.12 * k,
                f"area {area:.2f}{f', {words.steps[steps]}' if k else ''}",
                ha="right",
                fontsize=8,
            )
    ax.set_title("ROC, mean over steps", loc="left")
    ax.set(xlim=(0, 1), ylim=(-0.03, 1.03), xlabel="honest agents flagged", ylabel="deceptive ones flagged")
    ax.set_xticks([0, 0.5, 1], ["0", "½", "1"])
    ax.set_yticks([0, 0.5, 1], ["0", "½", "1"])


def condition_line(condition: str, theme: Theme) -> tuple[str, str]:
    """Colour and dashes of a condition, the same in whichever world it is measured."""
    stem = condition.partition("@")[0].removeprefix("relapse:")
    own = {"deceptive": theme.deceptive, "honest": theme.honest, "soo": theme.series[2]}
    if stem in own:
        return own[stem], "-"
    left = [colour for colour in theme.series if colour not in own.values()]
    kin = [name for name in CONDITIONS if group(name) == group(stem) and name not in own]
    rank = kin.index(stem) if stem in kin else len(left) - 1
    return left[rank % len(left)], ("-", "--", ":")[rank // len(left) % 3]
