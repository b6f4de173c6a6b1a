"""How tables look in a terminal."""

from __future__ import annotations

from typing import TYPE_CHECKING

if TYPE_CHECKING:
    from rich.table import Table


def plain_table(title: str | None = None, caption: str | None = None) -> Table:
    """An empty rich table without lines, its title and caption at the left."""
    from rich.table import Table

    look = {"title_justify": "left", "caption_justify": "left", "box": None, "padding": (0, 2, 0, 0), "pad_edge": False}
    return Table(title=title, caption=caption, header_style="bold", **look)
