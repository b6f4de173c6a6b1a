"""From tidy rows of single agents to means with their uncertainty.

Agents that were trained against the same red are no independent draws: a red that is easily led makes all of its
agents look alike. Intervals here therefore resample reds where there are several, and agents otherwise, so that they
say what to expect of a new red and not only of one more seed against the old ones.
"""

from __future__ import annotations

import math
from collections import defaultdict
from collections.abc import Iterable, Sequence
from typing import Any, NamedTuple

import numpy as np

FEWEST = 3
"""Reds (or agents, of a single red) that an interval needs: two give Student's t one degree of freedom, and with it
intervals from nothing to everything, or none at all where the two happen to agree."""

DETECTION = "detection"
"""The condition of rows that are about a detector and not about an agent."""


class Summary(NamedTuple):
    """Agents of one condition on one metric.

    Attributes:
      mean: over agents; nan if none has a value. sd: sample standard deviation over agents, None of a single one.
      low, high: 95 % interval of the mean, see :func:`summarise`; None of fewer than ``FEWEST`` independent values.
      n: agents with a value. missing: agents whose value was not finite; they are in no other figure.
      reds: how many different reds the agents with a value met.
      values: of every agent.
    """

    mean: float
    sd: float | None
    low: float | None
    high: float | None
    n: int
    missing: int = 0
    reds: int = 1
    values: tuple[float, ...] = ()


def agent_rows(rows: Iterable[dict[str, Any]]) -> list[dict[str, Any]]:
    """The rows that measure an agent; those of the detector are left out."""
    return [row for row in rows if {"condition", "metric", "value"} <= row.keys() and row["condition"] != DETECTION]


def detection_rows(rows: Iterable[dict[str, Any]]) -> list[dict[str, Any]]:
    """The rows that measure the detector."""
    return [row for row in rows if row.get("condition") == DETECTION]


def aggregate(rows: Iterable[dict[str, Any]]) -> dict[tuple[str, str], Summary]:
    """Means by (condition, metric) over agents, in order of first appearance."""
    cells = defaultdict(list)
    for row in agent_rows(rows):
        cells[row["condition"], row["metric"]].append((row.get("red"), row["value"]))
    return {key: summarise([value for _, value in cell], [red for red, _ in cell]) for key, cell in cells.items()}


def changes(rows: Iterable[dict[str, Any]], before: str, after: str) -> dict[str, Summary]:
    """What became of each agent: the metrics of condition ``after`` minus those of the same red and seed ``before``.

    Pairing takes out how the agents differed to begin with. Agents without a partner are left out; one that lacks a
    value on either side counts as missing.
    """
    known = {
        (row["condition"], row["metric"], row.get("red"), row.get("seed")): row["value"] for row in agent_rows(rows)
    }
    found = defaultdict(list)
    for (condition, metric, red, seed), value in known.items():
        if condition == after and (before, metric, red, seed) in known:
            other = known[before, metric, red, seed]
            found[metric].append((red, None if value is None or other is None else value - other))
    return {m: summarise([value for _, value in pairs], [red for red, _ in pairs]) for m, pairs in found.items()}


def summarise(values: Sequence[float | None], reds: Sequence[Any]) -> Summary:
    """Mean, spread and 95 % interval of agents' values.

    The interval is Student's t with the cluster-robust standard error of the mean (clusters are reds, as many degrees
    of freedom as reds less one): with as many agents for every red it is the t interval over the reds' means. With a
    single red, every agent is its own cluster, which makes it the t interval over agents; it then speaks of that red
    alone. Being symmetric, it may reach past the ends of a rate.

    Args:
      values: one per agent; None where it was not finite. reds: which red each agent met.
    """
    known = [(value, red) for value, red in zip(values, reds, strict=True) if value is not None]
    missing = len(values) - len(known)
    if not known:
        return Summary(math.nan, None, None, None, 0, missing, 0)
    x = np.asarray([value for value, _ in known], float)
    labels = [red for _, red in known]
    mean = float(x.mean())
    sd = float(x.std(ddof=1)) if len(x) > 1 else None
    found = clustered(mean, (x - mean) / len(x), labels)
    return found._replace(sd=sd, missing=missing, values=tuple(x.tolist()))


def clustered(mean: float, influence: np.ndarray, reds: Sequence[Any]) -> Summary:
    """A statistic with its 95 % interval by reds, from what each agent adds to it.

    Args:
      influence: ``[n]``, how far each agent moves the statistic: of a mean, its residual over n. reds: of the agents; a
        single red makes every agent its own cluster.
    """
    different = len(set(reds))
    half = _half_width(influence, reds if different > 1 else range(len(influence)))
    low, high = (None, None) if half is None else (mean - half, mean + half)
    return Summary(mean, None, low, high, len(influence), reds=different)


def _half_width(influence: np.ndarray, clusters: Iterable[Any]) -> float | None:
    sums = defaultdict(float)
    for one, cluster in zip(influence, clusters, strict=True):
        sums[cluster] += one
    count = len(sums)
    if count < FEWEST:
        return None
    squares = math.fsum(total**2 for total in sums.values())
    return _quantile(count - 1) * math.sqrt(count / (count - 1) * squares)


def _quantile(freedom: int) -> float:
    """97.5 % quantile of Student's t."""
    from scipy.special import stdtrit

    return float(stdtrit(freedom, 0.975))


def never_deceived(rows: Iterable[dict[str, Any]], metric: str = "deceptive_rate") -> list[tuple[Any, Any]]:
    """Deceptive baselines (red, seed) that deceive no more than the honest one of the same red and seed.

    Nothing that is done to them afterwards can show that it made them honest.
    """
    known = {
        (row["condition"], row.get("red"), row.get("seed")): row["value"]
        for row in agent_rows(rows)
        if row["metric"] == metric and row["value"] is not None
    }
    bad = [(red, seed) for condition, red, seed in known if condition == "deceptive"]
    return [who for who in bad if ("honest", *who) in known and known["deceptive", *who] <= known["honest", *who]]


def flipped(row: dict[str, Any]) -> bool:
    """Whether a row of the detector tells an AUROC whose interval lies below one half: it does tell deceivers apart,
    but it is the honest ones that score higher."""
    return row["metric"] == "auroc" and row.get("high") is not None and row["high"] < 0.5


def roc(positive: Sequence[float], negative: Sequence[float]) -> tuple[np.ndarray, np.ndarray]:
    """False and true positive rates over all thresholds, from (0, 0) to (1, 1); a higher score means positive."""
    positive, negative = np.sort(positive), np.sort(negative)
    lines = np.concatenate([[np.inf], np.unique([*positive, *negative])[::-1]])
    above = lambda scores: 1 - np.searchsorted(scores, lines, side="left") / len(scores)
    return above(negative), above(positive)
