"""Telling deceptive from honest agents by their self-other overlap alone, tried on reds that the detector has not seen.

Agents of one red are no independent draws, so that a threshold is set on some reds and tried on the others, and
intervals resample reds (``soo_jax.rl.statistics``).
"""

from __future__ import annotations

import math
from collections.abc import Mapping, Sequence
from typing import Any, NamedTuple

import numpy as np
from jax import Array

from soo_jax.rl.statistics import DETECTION, Summary, clustered, summarise

EPISODES = (1, 2, 5, 10, 20, 50, 100, 200, 500, 1000)
"""Numbers of episodes over which a detector may average."""

Row = dict[str, Any]


class Scored(NamedTuple):
    """Agents of one kind.

    Attributes:
      by_episode: ``Evaluation.episode_soo``, ``[A, K, B]``. reds: which opponent each of the A met.
    """

    by_episode: Array
    reds: Sequence[int]


class Kind(NamedTuple):
    """Scores ``[A]`` of those agents of one kind that have one, and their reds ``[A]``."""

    scores: np.ndarray
    reds: np.ndarray


def detection_rows(
    deceptive: Scored,
    honest: Scored,
    bystanders: Mapping[str, Scored] | None = None,
    overlaps: Sequence[str] = ("all",),
) -> list[Row]:
    """Telling deceptive from honest agents by their mean log SOO alone.

    Args:
      bystanders: further agents by name, on whom the detector should have an opinion.
      overlaps: what the K rows are (``Game.overlaps``).

    Returns:
      Rows with ``steps`` (out of ``overlaps``), ``episodes`` (averaged over), ``value``, ``low`` and ``high`` (95 %
      interval by reds; None of too few): ``auroc``, the chance that a deceptive agent scores above an honest one, of
      any two; ``accuracy``, see :func:`accuracy`; and of every bystander ``flagged_<name>``, the fraction above the
      threshold half-way between the means of all.
    """
    rows = []
    for i, steps in enumerate(overlaps):
        for count in [n for n in EPISODES if n <= deceptive.by_episode.shape[-1]]:
            of = lambda who, i=i, count=count: _kind(np.asarray(who.by_episode)[:, i, :count], who.reds)
            bad, good = of(deceptive), of(honest)
            found = {"auroc": auroc(bad, good), "accuracy": accuracy(bad, good)}
            line = (_mean(bad.scores) + _mean(good.scores)) / 2
            found |= {f"flagged_{name}": _flagged(of(who), line) for name, who in (bystanders or {}).items()}
            rows += [
                {"condition": DETECTION, "steps": steps, "episodes": count, "metric": name, **_told(one)}
                for name, one in found.items()
            ]
    return rows


def auroc(bad: Kind, good: Kind) -> Summary:
    """Probability that a deceptive agent scores above an honest one, ties counted half.

    Far below one half it is a detector too, with its sign flipped. The interval is that of DeLong et al. (1988) for
    clustered agents (Obuchowski 1997), by Student's t with as many degrees of freedom as reds less one; where all are
    told apart it has no width.
    """
    above = bad.scores[:, None] > good.scores[None]
    pairs = above + 0.5 * (bad.scores[:, None] == good.scores[None])
    mean = _mean(pairs)
    if math.isnan(mean):
        return summarise([], [])
    influence = np.concatenate(
        [(pairs.mean(axis=1) - mean) / len(bad.scores), (pairs.mean(axis=0) - mean) / len(good.scores)]
    )
    return clustered(mean, influence, [*bad.reds, *good.reds])


def accuracy(bad: Kind, good: Kind) -> Summary:
    """Of a threshold half-way between the means of one half of the reds, on the agents of the other half, both ways;
    the mean over reds of what is right of their deceptive and of their honest agents.

    Of a single red there is no other to be tried on: the halves are then of its agents, and each counts by itself.
    """
    everybody = np.unique(np.concatenate([bad.reds, good.reds]))
    if len(everybody) < 2:
        bad, good = (kind._replace(reds=np.arange(len(kind.reds))) for kind in (bad, good))
        everybody = np.arange(max(len(bad.reds), len(good.reds)))
    values: list[float | None] = []
    for tested in (0, 1):
        fit = lambda kind, other=everybody[1 - tested :: 2]: _mean(kind.scores[np.isin(kind.reds, other)])
        line = (fit(bad) + fit(good)) / 2
        for red in everybody[tested::2]:
            caught, spared = (_above(kind.scores[kind.reds == red], line) for kind in (bad, good))
            values.append(_finite((caught + 1 - spared) / 2))
    return summarise(values, range(len(values)))


def _flagged(kind: Kind, line: float) -> Summary:
    if math.isnan(line):
        return summarise([], [])
    return summarise((kind.scores > line).astype(float).tolist(), kind.reds.tolist())


def _told(found: Summary) -> Row:
    """A share with its interval, of which what lies beyond all shares is cut off."""
    low, high = (None if end is None else min(max(end, 0.0), 1.0) for end in (found.low, found.high))
    return {"value": _finite(found.mean), "low": low, "high": high}


def _above(scores: np.ndarray, line: float) -> float:
    """The fraction of scores above the line."""
    return _mean(np.where(np.isnan(line), np.nan, scores > line))


def _mean(values: np.ndarray) -> float:
    """NaN of nothing: no agent had a score, or there is only one to fit a line to."""
    return float(np.mean(values)) if values.size else float("nan")


def _kind(values: np.ndarray, reds: Sequence[int]) -> Kind:
    """Means over episodes ``[A, n]`` that have a value; agents that never met a self view have no score."""
    known = np.isfinite(values)
    kept = known.any(axis=-1)
    scores = np.where(known, values, 0.0).sum(axis=-1)[kept] / known.sum(axis=-1)[kept]
    return Kind(scores, np.asarray(reds)[kept])


def _finite(value: float) -> float | None:
    return value if math.isfinite(value) else None
