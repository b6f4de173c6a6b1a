"""What each layer makes of self and other: as a table for the terminal, and as a chart."""

from __future__ import annotations

from collections.abc import Sequence
from typing import TYPE_CHECKING, Any

from soo_jax.report.style import LIGHT, Theme, add_legend, handle, new_figure, styled, to_png
from soo_jax.report.terminal import plain_table

if TYPE_CHECKING:
    from rich.table import Table

    from soo_jax.runs import Run

TITLES = {
    "relative_gap": "gap",
    "constant": "constant",
    "carry": "carry",
    "patch_recipient": "recipient",
    "patch_question": "question",
    "patch_answer": "answer",
    "patch_attention": "attention",
    "restored": "restored",
    "broken": "broken",
}
"""Columns by the names of their fields."""
CAPTION = (
    "*: advised. gap: relative, between self and other at the attention output, 0 where they agree. constant: the "
    "share of their difference that is the same in all scenes. carry: how much of it the training pairs show. "
    "Recipient to attention: the share of rivals told the truth when that place is taken from the self side. restored, "
    "broken: the share of the margin between the two sides that comes back when the layer's attention is taken from "
    "the self side, and that is lost when it is taken from the other side."
)


def layers_table(runs: Sequence[Run]) -> Table:
    """A rich table with one line a layer."""
    (run,) = runs
    table = plain_table(title=f"Layers: {run.path.name}", caption=CAPTION)
    table.padding = (0, 1, 0, 0)  # ten columns, in 80 characters
    table.add_column("layer", justify="right")
    names = [name for name in TITLES if all(name in row for row in run.layers)]  # earlier runs have fewer
    for name in names:
        table.add_column(TITLES[name], justify="right")
    for row in run.layers:
        mark = "*" if row.get("advised") else ""
        table.add_row(f"{mark}{row['layer']}", *(f"{round(row[name], 2) + 0.0:.2f}" for name in names))
    return table


def layers_chart(rows: Sequence[dict[str, Any]], theme: Theme = LIGHT) -> bytes:
    """Panels by layer: what patching each place makes right, what attention carries of the margin, and says of whom.

    Returns:
      A PNG.
    """
    from matplotlib.ticker import MaxNLocator

    panels = (
        (
            "rivals told the truth when patched from self",
            [name for name in TITLES if name.startswith("patch_")],
        ),
        ("share of the margin that the layer's attention carries", ["restored", "broken"]),
        ("attention output, last token", ["relative_gap", "constant", "carry"]),
    )
    panels = [(title, fields) for title, names in panels if (fields := [name for name in names if name in rows[0]])]
    with styled(theme):
        figure, axes = new_figure(theme, 2.0 * len(panels) + 0.6, len(panels), 1, sharex=True)
        handles, labels = [], []
        for i, (title, fields) in enumerate(panels):
            ax = axes[i][0]
            for k, field in enumerate(fields):
                shade = theme.apart[len(handles) % len(theme.apart)]
                style = ("-", "--", ":", "-.", (0, (1, 3)), (0, (6, 1)))[k]
                across, up = [row["layer"] for row in rows], [row[field] for row in rows]
                ax.plot(across, up, linestyle=style, color=shade, linewidth=1.7)
                handles.append(handle(shade, style))
                labels.append(TITLES[field])
            ax.set_title(title, loc="left")
            ax.yaxis.grid(True)
        axes[0][0].set_ylim(-0.03, 1.03)
        axes[-1][0].set_xlabel("layer")
        axes[-1][0].xaxis.set_major_locator(MaxNLocator(8, integer=True))
        add_legend(figure, handles, labels, theme, columns=4)
        return to_png(figure)
