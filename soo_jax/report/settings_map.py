"""Maps over two settings: one field for each pair of values, one panel for each measure."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from typing import Any, NamedTuple

import numpy as np

from soo_jax.report.style import Theme, new_figure, styled, to_png

_LARGEST, _ACROSS, _OF_SIZE = 8.0, 400.0, 0.68
"""Points: of the largest text in a field, and of all fields of a row; a character's width, as a share of its size."""


class Panel(NamedTuple):
    """One measure.

    Attributes:
      fields: ``[rows, columns]``, nan where nothing was measured. low, high: ends of the shades from the paper's colour
        to ``colour``. text: what stands in a field.
    """

    title: str
    fields: np.ndarray
    low: float
    high: float
    colour: str
    text: Callable[[float], str]


class Axis(NamedTuple):
    """A setting and its values, in sequence; a name of None is no setting: one row for all."""

    name: str | None
    values: Sequence[Any]


def _in_lines(text: str, most: int = 2) -> str:
    """A list with so many of its parts in a line: a long one would run into its neighbours."""
    parts = text.split(",")
    return ",\n".join(",".join(parts[i : i + most]) for i in range(0, len(parts), most))


def _font_size(panel: Panel, columns: int) -> float:
    """In points: as large as lets every text stay in its field."""
    longest = max((len(panel.text(value)) for value in panel.fields.flat if np.isfinite(value)), default=1)
    return min(_LARGEST, _ACROSS / columns / (_OF_SIZE * longest))


def settings_map(panels: Sequence[Panel], across: Axis, up: Axis, theme: Theme) -> bytes:
    """The panels one below the other, as PNG."""
    from matplotlib.colors import LinearSegmentedColormap

    told = lambda value: f"{value:g}" if isinstance(value, float) else str(value)
    heading = lambda axis: (axis.name or "").replace("_", " ")
    with styled(theme):
        height = (0.34 * len(up.values) + 0.55) * len(panels) + 0.5
        figure, axes = new_figure(theme, height, len(panels), 1, sharex=True)
        for ax, panel in zip(axes[:, 0], panels, strict=True):
            shades = LinearSegmentedColormap.from_list(panel.title, [theme.surface, panel.colour])
            high = panel.high if panel.high > panel.low else panel.low + 1.0
            ax.imshow(panel.fields, aspect="auto", origin="lower", cmap=shades.with_extremes(bad=theme.grid),
                      vmin=panel.low, vmax=high)  # fmt: skip
            size = _font_size(panel, len(across.values))
            for (i, j), value in np.ndenumerate(panel.fields):
                if np.isfinite(value):
                    dark = value > panel.low + 0.6 * (high - panel.low)
                    ax.text(j, i, panel.text(value), ha="center", va="center", fontsize=size,
                            color=theme.surface if dark else theme.ink)  # fmt: skip
            ax.set_title(panel.title, loc="left")
            ax.set_yticks(range(len(up.values)), [told(value) if up.name else "" for value in up.values])
            ax.set_ylabel(heading(up))
        axes[-1, 0].set_xticks(range(len(across.values)), [_in_lines(told(value)) for value in across.values])
        axes[-1, 0].set_xlabel(heading(across))
        return to_png(figure, colours=256)
