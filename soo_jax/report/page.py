"""What all pages share: charts in both themes, the frame they are put into, and how settings are listed."""

from __future__ import annotations

import base64
import json
from collections.abc import Callable, Iterator
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
    """A chart in both themes, as PNG."""

    name: str
    title: str
    caption: str
    light: bytes
    dark: bytes


def chart(name: str, title: str, caption: str, draw: Callable[[Any], bytes]) -> Chart:
    """Draws in both themes.

    Args:
      name: of the file, without its ending.
      draw: theme -> PNG.
    """
    from soo_jax.report.style import DARK, LIGHT

    return Chart(name, title, caption, draw(LIGHT), draw(DARK))


def render(template: str, filters: dict[str, Callable[..., Any]], **context: Any) -> str:
    """Fills a template of this folder.

    Args:
      filters: of this page, beside ``per_cent`` and ``data_uri``.
    """
    from jinja2 import Environment, PackageLoader, StrictUndefined

    environment = Environment(
        loader=PackageLoader("soo_jax.report", "."), autoescape=True, undefined=StrictUndefined, trim_blocks=True,
        lstrip_blocks=True,
    )  # fmt: skip
    environment.filters |= {
        "per_cent": lambda value: f"{value:.0f}" if value in (0, 100) else f"{value:.1f}",
        "data_uri": lambda png: "data:image/png;base64," + base64.b64encode(png).decode("ascii"),
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
