"""What all pages share: charts in both themes with the numbers behind them, the frame, and how settings are listed."""

from __future__ import annotations

import base64
import csv
import io
import json
from collections.abc import Callable, Iterator, Mapping, Sequence
from dataclasses import dataclass
from typing import Any

from soo_jax.runs import Run

_STATES = {
    "running": "it is still running, or it was killed",
    "interrupted": "it was interrupted",
    "failed": "it ended with an error; log.txt in its folder says which",
}


@dataclass(frozen=True)
class Chart:
    """A chart in both themes, as PNG, and the flat rows that it shows."""

    name: str
    title: str
    caption: str
    light: bytes
    dark: bytes
    rows: Sequence[Mapping[str, Any]]


def chart(
    name: str, title: str, caption: str, rows: Sequence[Mapping[str, Any]], draw: Callable[[Any], bytes]
) -> Chart:
    """Draws in both themes.

    Args:
      name: of the file, without its ending. rows: the numbers behind it, for whoever wants to draw it otherwise.
      draw: theme -> PNG.
    """
    from soo_jax.report.style import DARK, LIGHT

    return Chart(name, title, caption, draw(LIGHT), draw(DARK), rows)


def csv_text(rows: Sequence[Mapping[str, Any]]) -> str:
    """Flat rows as CSV: all fields in order of first appearance; what a row does not have, or is None, is empty.

    Numbers have seven significant digits, as many as they were computed with.
    """
    fields = list(dict.fromkeys(name for row in rows for name in row))
    text = io.StringIO()
    writer = csv.DictWriter(text, fields, restval="", lineterminator="\n")
    writer.writeheader()
    short = lambda value: f"{value:.7g}" if isinstance(value, float) else value
    writer.writerows({name: short(value) for name, value in row.items()} for row in rows)
    return text.getvalue()


def render(template: str, filters: dict[str, Callable[..., Any]], **context: Any) -> str:
    """Fills a template of this folder.

    Args:
      filters: of this page, beside ``per_cent``, ``data_uri`` and ``csv_uri``.
    """
    from jinja2 import Environment, PackageLoader, StrictUndefined

    environment = Environment(
        loader=PackageLoader("soo_jax.report", "."), autoescape=True, undefined=StrictUndefined, trim_blocks=True,
        lstrip_blocks=True,
    )  # fmt: skip
    environment.filters |= {
        "per_cent": lambda value: f"{value:.0f}" if value in (0, 100) else f"{value:.1f}",
        "data_uri": lambda png: "data:image/png;base64," + base64.b64encode(png).decode("ascii"),
        "csv_uri": lambda rows: (
            "data:text/csv;charset=utf-8;base64," + base64.b64encode(csv_text(rows).encode("utf-8")).decode("ascii")
        ),
    } | filters
    return environment.get_template(template).render(**context)


def trouble(run: Run) -> str:
    """What is wrong with a run that did not end well; empty if it did."""
    return "" if run.complete else _STATES[run.state]


def settings(run: Run) -> list[tuple[str, str]]:
    """What was set, without what it was made with and how it is told."""
    return list(flat({name: value for name, value in run.config.items() if name not in ("provenance", "words")}))


def provenance(run: Run) -> list[tuple[str, str]]:
    """What it was made with."""
    return list(flat(run.config.get("provenance", {})))


def timings(run: Run) -> list[tuple[str, str]]:
    """How long it took."""
    return list(flat(run.results.get("timings", {})))


def flat(value: Any, name: str = "") -> Iterator[tuple[str, str]]:
    """A nested setting as (dotted name, text) pairs."""
    if isinstance(value, dict) and value:
        for key, inner in value.items():
            yield from flat(inner, f"{name}.{key}" if name else str(key))
    elif name:
        yield name, value if isinstance(value, str) else json.dumps(value, ensure_ascii=False)
