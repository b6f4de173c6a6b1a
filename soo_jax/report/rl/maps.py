"""Maps of RL runs as PNG: deceptive moves over thresholds, and activations of self and other views in the plane."""

from __future__ import annotations

import math
from collections.abc import Mapping
from typing import TYPE_CHECKING, Any

import numpy as np
from matplotlib.colors import LinearSegmentedColormap

from soo_jax.report.rl.words import condition_title, in_sequence
from soo_jax.report.style import LIGHT, WIDTH, Theme, add_legend, handle, new_figure, styled, to_png

if TYPE_CHECKING:
    from matplotlib.axes import Axes
    from matplotlib.figure import Figure

COLUMNS = 3
CLEARLY_TOWARDS, CLEARLY_APART = 0.7, 0.6
"""Where the deceptive rate is read off the surface (soo_jax.rl.games.physical_deception.behaviour)."""


def surface_chart(surfaces: Mapping[str, np.ndarray], theme: Theme = LIGHT) -> bytes:
    """Surfaces of deceptive moves side by side on one colour scale.

    Args:
      surfaces: by condition ``[X, Y]``: deceptive moves per step with red in sight, whose projection on the fake is
        above x in [0, 1] and whose cosine between fake and goal is below y in [-1, 1].
    """
    conditions = in_sequence(surfaces)
    top = max((float(np.nanmax(surfaces[name])) for name in conditions), default=0.0) or 1.0
    shades = LinearSegmentedColormap.from_list("deceptive", [theme.grid, theme.deceptive, theme.ink])
    with styled(theme):
        rows = math.ceil(len(conditions) / COLUMNS)
        height = 1.62 * rows + 0.75
        figure, axes = new_figure(theme, height, rows, COLUMNS, layout=None)
        _margins(figure, height, left=0.42, bottom=0.95)
        for ax, name in _panels(axes, conditions):
            image = ax.imshow(np.asarray(surfaces[name]).T, origin="lower", extent=(0, 1, -1, 1), aspect="auto",
                              cmap=shades, vmin=0, vmax=top)  # fmt: skip
            ax.plot(CLEARLY_TOWARDS, CLEARLY_APART, "+", color=theme.ink, markersize=7, markeredgewidth=1.1)
            ax.set(xticks=[], yticks=[])
        for ax in axes[:, 0]:
            ax.set_ylabel("cosine <", labelpad=0)
            ax.set_yticks([-1, 0, 1], ["−1", "0", "1"])
        for ax in axes.reshape(-1)[max(len(conditions) - COLUMNS, 0) : len(conditions)]:  # the lowest of each column
            ax.set_xlabel("projection >", labelpad=1)
            ax.set_xticks([0, 0.5, 1], ["0", "½", "1"])
        place = figure.add_axes((0.42 / WIDTH, 0.4 / height, 1 - 0.57 / WIDTH, 0.1 / height))
        bar = figure.colorbar(image, cax=place, orientation="horizontal")
        bar.set_label("deceptive moves per step with red in sight", fontsize=8)
        bar.outline.set_visible(False)
        return to_png(figure, colours=256)


def surface_rows(surfaces: Mapping[str, np.ndarray]) -> list[dict[str, Any]]:
    """A surface as rows: one for each projection, with a column for each cosine (deceptive moves per step)."""
    rows = []
    for name in in_sequence(surfaces):
        field = np.asarray(surfaces[name], float)
        across, up = np.linspace(0, 1, field.shape[0]), np.linspace(-1, 1, field.shape[1])
        for x, line in zip(across, field, strict=True):
            columns = {f"cosine < {y:.2f}": round(value, 4) for y, value in zip(up, line.tolist(), strict=True)}
            rows.append({"condition": name, "projection >": round(float(x), 4), **columns})
    return rows


def geometry_rows(geometry: Mapping[str, np.ndarray]) -> list[dict[str, Any]]:
    """The points of the chart: condition, side, and the two axes."""
    return [
        {"condition": condition, "side": side, "axis_1": round(float(point[0]), 4), "axis_2": round(float(point[1]), 4)}
        for name, points in geometry.items()
        for condition, _, side in [name.rpartition(".")]
        for point in points
    ]


def geometry_chart(geometry: Mapping[str, np.ndarray], theme: Theme = LIGHT) -> bytes:
    """Activations of self and of other views on two axes that all conditions share.

    Args:
      geometry: ``<condition>.self`` and ``<condition>.other``, ``[n, 2]`` each.
    """
    conditions = in_sequence(name.removesuffix(".self") for name in geometry if name.endswith(".self"))
    conditions = [name for name in conditions if f"{name}.other" in geometry]
    with styled(theme):
        rows = math.ceil(len(conditions) / COLUMNS)
        height = 1.62 * rows + 0.4
        figure, axes = new_figure(theme, height, rows, COLUMNS, sharex=True, sharey=True, layout=None)
        _margins(figure, height, left=0.12, bottom=0.1, top=0.5)
        for ax, name in _panels(axes, conditions):
            for side, colour in (("other", theme.series[3]), ("self", theme.series[5])):
                ax.plot(*np.asarray(geometry[f"{name}.{side}"]).T, ".", color=colour, markersize=2.6, alpha=0.6,
                        markeredgewidth=0)  # fmt: skip
            ax.grid(True)
            ax.tick_params(labelbottom=False, labelleft=False)
        handles = [handle(colour, "", marker="o") for colour in (theme.series[5], theme.series[3])]
        add_legend(figure, handles, ["self views", "other views"], theme, columns=2)
        return to_png(figure)


def _margins(figure: Figure, height: float, left: float, bottom: float, top: float = 0.25) -> None:
    """Margins in inches: to fit them to so many panels would take longer than to draw these."""
    figure.subplots_adjust(left=left / WIDTH, right=1 - 0.15 / WIDTH, bottom=bottom / height, top=1 - top / height,
                           hspace=0.24, wspace=0.09)  # fmt: skip


def _panels(axes: np.ndarray, conditions: list[str]) -> list[tuple[Axes, str]]:
    """The panel of each condition, titled; panels that are left over are taken away."""
    panels = axes.reshape(-1)
    for ax in panels[len(conditions) :]:
        ax.set_visible(False)
    for ax, name in zip(panels, conditions, strict=False):
        ax.set_title(condition_title(name), loc="left", fontsize=8)
    return list(zip(panels, conditions, strict=False))
