"""Maps over two settings: one field for each pair of values, one panel for each measure."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from typing import Any, NamedTuple

import numpy as np

from soo_jax.report.style import Theme, new_figure, styled, to_png


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
            for (i, j), value in np.ndenumerate(panel.fields):
                if np.isfinite(value):
                    dark = value > panel.low + 0.6 * (high - panel.low)
                    ax.text(j, i, panel.text(value), ha="center", va="center", fontsize=8,
                            color=theme.surface if dark else theme.ink)  # fmt: skip
            ax.set_title(panel.title, loc="left")
            ax.set_yticks(range(len(up.values)), [told(value) if up.name else "" for value in up.values])
            ax.set_ylabel(heading(up))
        axes[-1, 0].set_xticks(range(len(across.values)), [told(value) for value in across.values])
        axes[-1, 0].set_xlabel(heading(across))
        return to_png(figure, colours=256)
