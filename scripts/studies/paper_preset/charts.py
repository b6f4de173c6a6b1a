"""Learning curves of the test problem, seed by seed."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

import numpy as np

from soo_jax.report.style import LIGHT, Theme, new_figure, styled, to_png

COLUMNS = {
    "running": "running\nstatistics",
    "batch_norm_observations": "batch norm,\nobservations",
    "batch_norm_actions": "batch norm,\nactions",
    "batch_norm": "batch norm,\nboth",
}
ROWS = {"saturated_blue": "saturated actions", "reward_blue": "reward per step"}


def learning_chart(told: Mapping[str, Any], theme: Theme = LIGHT) -> bytes:
    """Saturation and reward by step, a line for each seed, side by side for what batch norm is put on.

    Args:
      told: by variant, what ``training.make`` wrote.
    """
    shown = [name for name in COLUMNS if name in told]
    with styled(theme):
        figure, axes = new_figure(theme, 3.3, len(ROWS), max(len(shown), 1), sharex=True, sharey="row")
        for column, name in enumerate(shown):
            for row, metric in enumerate(ROWS):
                values = np.asarray(told[name]["curves"][metric])
                steps = told[name]["steps"] * np.arange(1, values.shape[1] + 1) / values.shape[1]
                axes[row][column].plot(steps / 1000, values.T, color=theme.honest, linewidth=0.9, alpha=0.6)
                axes[row][column].yaxis.grid(True)
            axes[0][column].set_title(COLUMNS[name], fontsize=8)
            axes[-1][column].set_xlabel("thousand steps", fontsize=8)
        for row, title in enumerate(ROWS.values()):
            axes[row][0].set_ylabel(title, fontsize=8)
        return to_png(figure)
