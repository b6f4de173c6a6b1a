"""How charts look: one light style and its dark twin, the width of a phone held upright, PNG with a palette.

Honest is blue and deceptive vermilion throughout (after Okabe and Ito, told apart by every kind of colour vision).
"""

from __future__ import annotations

import io
from collections.abc import Sequence
from dataclasses import dataclass
from typing import Any

import matplotlib
import numpy as np
from matplotlib.backends.backend_agg import FigureCanvasAgg
from matplotlib.figure import Figure

WIDTH = 5.2
"""Inches; at the page's size one inch is about 90 CSS pixels on a desktop and 65 on a phone."""


@dataclass(frozen=True)
class Theme:
    """The colours of a chart."""

    surface: str
    ink: str
    muted: str
    grid: str
    honest: str
    deceptive: str
    request: str
    series: tuple[str, ...]

    @property
    def apart(self) -> tuple[str, ...]:
        """Colours that say no more than that things differ (seeds, runs, settings): neither honest nor deceptive."""
        return self.series[2:]


LIGHT = Theme(
    "#ffffff", "#1c2530", "#6b7683", "#e4e8ec", "#0072b2", "#d55e00", "#8a4fa3",
    ("#0072b2", "#d55e00", "#009e73", "#b8860b", "#8a4fa3", "#56b4e9", "#7f7f7f", "#cc79a7", "#6d4c41"),
)  # fmt: skip
DARK = Theme(
    "#171d24", "#e6ebf0", "#97a3b0", "#2c3640", "#56b4e9", "#f08a4b", "#c9a0dc",
    ("#56b4e9", "#f08a4b", "#2fc59a", "#e6c04b", "#c9a0dc", "#9fd5f5", "#a8a8a8", "#f2a6c8", "#c19a83"),
)  # fmt: skip
THEMES = {"light": LIGHT, "dark": DARK}


def styled(theme: Theme):
    """A context in which matplotlib draws in the theme."""
    return matplotlib.rc_context(
        {
            "font.family": "DejaVu Sans", "font.size": 9.5, "text.color": theme.ink, "axes.labelcolor": theme.muted,
            "axes.titlesize": 9.5, "axes.titlecolor": theme.ink, "axes.labelsize": 9, "axes.edgecolor": theme.grid,
            "axes.facecolor": theme.surface, "figure.facecolor": theme.surface, "axes.spines.top": False,
            "axes.spines.right": False, "axes.axisbelow": True, "grid.color": theme.grid, "grid.linewidth": 0.8,
            "xtick.color": theme.muted, "ytick.color": theme.grid, "ytick.labelcolor": theme.ink,
            "xtick.labelsize": 8.5, "ytick.labelsize": 8.5, "xtick.major.size": 0, "ytick.major.size": 0,
            "legend.frameon": False, "legend.fontsize": 9, "axes.formatter.limits": (-3, 4),
        }
    )  # fmt: skip


_LETTER, _BESIDE = 0.066, 0.42
"""Inches that a letter of a legend takes, and what stands beside a name: its mark and the gaps."""


def new_figure(
    theme: Theme,
    height: float,
    rows: int = 1,
    columns: int = 1,
    sharex: bool = False,
    sharey: bool = False,
    layout: str | None = "constrained",
):
    """A figure of the common width, ``height`` inches high, and its panels ``[rows, columns]``."""
    figure = Figure(figsize=(WIDTH, height), dpi=200, layout=layout, facecolor=theme.surface)
    FigureCanvasAgg(figure)
    return figure, figure.subplots(rows, columns, squeeze=False, sharex=sharex, sharey=sharey)


def handle(colour: str, style: str, **marker: Any):
    """A sample line or marker for the legend."""
    from matplotlib.lines import Line2D

    return Line2D(
        [], [], **({"color": colour, "linestyle": style or "none", "linewidth": 1.9, "markersize": 4} | marker)
    )


def legend_columns(names: Sequence[str]) -> int:
    """Into how many columns a legend of these names goes uncut; matplotlib fills one after the other."""
    for count in range(min(5, len(names)), 1, -1):
        columns = np.array_split([len(name) for name in names], count)
        if sum(_LETTER * max(lengths) + _BESIDE for lengths in columns) <= WIDTH:
            return count
    return 1


def add_legend(figure: Figure, handles: Sequence[Any], names: Sequence[str], theme: Theme, columns: int) -> None:
    """Sets the legend above the panels."""
    place = "outside upper left" if figure.get_layout_engine() else "upper left"
    figure.legend(handles, names, loc=place, ncols=columns, labelcolor=theme.ink, handletextpad=0.5, columnspacing=1.4,
                  borderaxespad=0.2, handlelength=1.6)  # fmt: skip


def to_png(figure: Figure, colours: int = 128) -> bytes:
    """The figure as the bytes of a PNG; maps need more ``colours`` than lines, 256 at most."""
    from PIL import Image

    figure.canvas.draw()
    # A chart has few colours: a palette makes the file four times smaller, and the page carries two of each chart.
    drawn = Image.fromarray(np.asarray(figure.canvas.buffer_rgba())[..., :3]).quantize(colours, kmeans=0)
    buffer = io.BytesIO()
    drawn.save(buffer, format="png", compress_level=9)
    return buffer.getvalue()
