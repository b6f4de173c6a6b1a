"""MT-Bench's scores: as a table for the terminal, and as a chart."""

from __future__ import annotations

from collections.abc import Sequence
from typing import TYPE_CHECKING, Any, NamedTuple

from soo_jax.report.style import LIGHT, Theme, add_legend, handle, new_figure, styled, to_png
from soo_jax.report.terminal import plain_table
from soo_jax.tasks.statistics import mean_sd

if TYPE_CHECKING:
    from rich.table import Table


class Score(NamedTuple):
    """Mean over models of one side (its seeds), their standard deviation, how many answers went unrated."""

    mean: float | None
    sd: float | None
    unrated: int


def overview(rows: Sequence[dict[str, Any]]) -> dict[str, dict[str, Score]]:
    """Scores by category and by side: ``before`` is the base model, ``after`` all adapters, over their seeds.

    The last category, ``all``, weighs every rated answer alike.
    """
    sides = {"before": ["base"], "after": sorted({row["model"] for row in rows} - {"base"})}
    categories = list(dict.fromkeys(row["category"] for row in rows))
    table: dict[str, dict[str, Score]] = {}
    for category in [*categories, "all"]:
        for side, models in sides.items():
            own = [row for row in rows if row["model"] in models and category in (row["category"], "all")]
            by_model = [[row for row in own if row["model"] == model and row["n"]] for model in models]
            means = [sum(r["score"] * r["n"] for r in one) / sum(r["n"] for r in one) for one in by_model if one]
            if own:
                mean, sd = mean_sd(means) if means else (None, None)
                table.setdefault(category, {})[side] = Score(mean, sd, sum(row["unrated"] for row in own))
    return table


def mtbench_table(rows: Sequence[dict[str, Any]]) -> Table:
    """A rich table of mean ratings from 1 to 10 by category."""
    caption = (
        "Ratings from 1 to 10, both turns; ± standard deviation over adapters. unrated: without a rating, left out."
    )
    table = plain_table(title="MT-Bench", caption=caption)
    for name in ("category", "before", "after", "unrated"):
        table.add_column(name, justify="left" if name == "category" else "right")
    for category, sides in overview(rows).items():
        told = [_told(sides.get(side)) for side in ("before", "after")]
        table.add_row(category, *told, str(sum(score.unrated for score in sides.values())))
    return table


def mtbench_chart(rows: Sequence[dict[str, Any]], theme: Theme = LIGHT) -> bytes:
    """Mean ratings by category, before and after.

    Returns:
      A PNG.
    """
    table = overview(rows)
    names = list(table)
    with styled(theme):
        figure, axes = new_figure(theme, 0.32 * len(names) + 1.0, 1, 1)
        ax = axes[0][0]
        handles, titles = [], []
        for side, colour, marker, shift in (("before", theme.muted, "o", -0.12), ("after", theme.honest, "s", 0.12)):
            told = [(i, table[name][side]) for i, name in enumerate(names) if side in table[name]]
            told = [(i, score) for i, score in told if score.mean is not None]
            if not told:
                continue
            spread = [score.sd or 0.0 for _, score in told]
            ax.errorbar(
                [score.mean for _, score in told], [i + shift for i, _ in told], xerr=spread, fmt=marker, color=colour,
                markersize=5, elinewidth=1.2,
            )  # fmt: skip
            handles.append(handle(colour, "", marker=marker))
            titles.append("before" if side == "before" else "after SOO")
        ax.set(xlim=(0.8, 10.2), ylim=(len(names) - 0.5, -0.5), yticks=range(len(names)), yticklabels=names)
        ax.set_xlabel("rating")
        ax.xaxis.grid(True)
        add_legend(figure, handles, titles, theme, columns=2)
        return to_png(figure)


def _told(score: Score | None) -> str:
    if score is None or score.mean is None:
        return "-"
    return f"{score.mean:.2f}" + ("" if score.sd is None else f" ± {score.sd:.2f}")
