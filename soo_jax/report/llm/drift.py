"""Drift on ordinary texts, in words and as rows of the page."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any, NamedTuple

from soo_jax.report.llm.words import condition_title, in_sequence
from soo_jax.tasks.statistics import apart, mean_sd


class Drift(NamedTuple):
    """One condition: mean and standard deviation over its seeds (None for one, or where nothing was finite)."""

    condition: str
    tokens: int
    perplexity: tuple[float | None, float | None]
    kl: tuple[float | None, float | None]
    top1: tuple[float | None, float | None]


def drifts(rows: Sequence[dict[str, Any]]) -> list[Drift]:
    """By condition, the base first."""
    rows = apart(rows)
    found = []
    for name in in_sequence(row["condition"] for row in rows):
        own = [row for row in rows if row["condition"] == name]
        values = [[row[field] for row in own if row[field] is not None] for field in ("perplexity", "kl", "top1")]
        found.append(Drift(name, own[0]["tokens"], *(mean_sd(one) if one else (None, None) for one in values)))
    return found


def drift_line(rows: Sequence[dict[str, Any]]) -> str:
    """All conditions in one line for the terminal."""
    told = []
    for one in drifts(rows):
        line = f"{condition_title(one.condition)} perplexity {shown(one.perplexity, 2)}"
        if one.condition != "base":
            line += f" (KL {shown(one.kl, 3)} nats, same first choice {shown(one.top1, 1, 100)} %)"
        told.append(line)
    return f"ordinary texts: {'; '.join(told)}"


def shown(value: tuple[float | None, float | None], digits: int, times: float = 1.0) -> str:
    """``12.34 ± 0.56``; ``not finite`` where there is no mean."""
    mean, sd = value
    if mean is None:
        return "not finite"
    return f"{times * mean:.{digits}f}" + ("" if sd is None else f" ± {times * sd:.{digits}f}")
