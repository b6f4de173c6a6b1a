"""Whether agents behave otherwise after a treatment than before, and by how much: paired by opponent and seed.

Opponents (reds) are what is sampled: agents of one red are no independent draws. So intervals draw reds again, with all
their agents, and tests count reds. In what a treatment is to keep, the claim is that nothing changed; the absence of a
difference does not show that, so there the test is one of equivalence.
"""

from __future__ import annotations

import math
from collections.abc import Collection, Mapping, Sequence
from dataclasses import dataclass, replace
from typing import Any, NamedTuple

import numpy as np
from scipy.stats import norm, t

from soo_jax.rl.statistics import FEWEST
from soo_jax.tasks.comparison import holm, verdict_of

Values = Mapping[tuple[Any, Any], float | None]
"""One metric of agents by red and seed; None where it was not finite."""

FEW_REDS = 8
"""With fewer reds than this an interval says little about reds that were not tried."""
_DRAWS = 10_000


@dataclass(frozen=True)
class Difference:
    """One metric, before and after, in its own unit.

    Attributes:
      control: whether a treatment is to keep it. agents: with a value on both sides. missing: that lack one.
      reds: opponents of these agents.
      low, high: 95 % interval of ``difference`` (after minus before); None of fewer reds (or, of a single red, agents)
        than ``statistics.FEWEST``.
      effect: the difference over the standard deviation of agents' differences (Cohen's d for pairs); None where it
        is 0. p: of there being no difference; ``p_holm`` is corrected for the metrics of the table.
      same: of a control, whether the difference lies within the margin (two one-sided tests at 5 %); else None.
    """

    metric: str
    control: bool
    agents: int
    missing: int
    reds: int
    before: float
    after: float
    difference: float
    low: float | None
    high: float | None
    effect: float | None
    p: float
    p_holm: float
    same: bool | None

    @property
    def verdict(self) -> str:
        """See :func:`soo_jax.tasks.comparison.verdict_of`."""
        return verdict_of(self.same, self.p_holm, self.difference)


def differences(
    before: Mapping[str, Values],
    after: Mapping[str, Values],
    controls: Collection[str] = (),
    within: float = 0.05,
    seed: int = 0,
) -> list[Difference]:
    """The difference in every metric of which some agent has a value on both sides, in order.

    Args:
      before, after: by metric. controls: metrics that are to be kept. within: how far apart these count as the same.
      seed: of the bootstrap.
    """
    found = []
    for metric in before:
        both = [who for who in before[metric] if who in after.get(metric, {})]
        pairs = [(who[0], before[metric][who], after[metric][who]) for who in both]
        known = [(red, one, other) for red, one, other in pairs if one is not None and other is not None]
        if known:
            control = metric in controls
            found.append(_difference(metric, known, len(both) - len(known), control, within, seed))
    corrected = holm([row.p for row in found])
    return [replace(row, p_holm=p) for row, p in zip(found, corrected, strict=True)]


def _difference(
    metric: str, pairs: Sequence[tuple[Any, float, float]], missing: int, control: bool, within: float, seed: int
) -> Difference:
    reds = [red for red, _, _ in pairs]
    before, after = (np.asarray([pair[i] for pair in pairs], float) for i in (1, 2))
    change = after - before
    tested = _tested(change, reds, within, seed)
    spread = float(change.std(ddof=1)) if len(change) > 1 else 0.0
    mean = float(change.mean())
    return Difference(
        metric=metric,
        control=control,
        agents=len(pairs),
        missing=missing,
        reds=len(set(reds)),
        before=float(before.mean()),
        after=float(after.mean()),
        difference=mean,
        low=tested.low,
        high=tested.high,
        effect=mean / spread if spread > 1e-12 else None,
        p=tested.p,
        p_holm=math.nan,
        same=tested.same if control else None,
    )


class _Tested(NamedTuple):
    low: float | None
    high: float | None
    p: float
    same: bool


def _tested(change: np.ndarray, reds: Sequence[Any], within: float, seed: int) -> _Tested:
    """Interval by the bootstrap over reds, tests by Student's t with the cluster-robust error over reds.

    Where all reds changed alike there is no error to divide by: the p-value is then that of as many signs that agree.
    """
    sums, counts = _by_cluster(change, reds)
    count = len(sums)
    if count < FEWEST:
        return _Tested(None, None, 1.0, False)
    mean = float(change.mean())
    error = math.sqrt(count / (count - 1) * float(((sums - mean * counts) ** 2).sum())) / len(change)
    low, high = _interval(sums, counts, seed)
    if error < 1e-12:
        p = 1.0 if abs(mean) < 1e-12 else 2.0 ** (1 - count)
        return _Tested(low, high, p, abs(mean) < within)
    p = float(2 * t.sf(abs(mean) / error, count - 1))
    return _Tested(low, high, p, bool((within - abs(mean)) / error > t.ppf(0.95, count - 1)))


def _by_cluster(change: np.ndarray, reds: Sequence[Any]) -> tuple[np.ndarray, np.ndarray]:
    """Sum and number of changes of each red; of a single red every agent stands for itself."""
    names = sorted(set(reds), key=str)
    if len(names) < 2:
        return change, np.ones(len(change))
    place = [names.index(red) for red in reds]
    return np.bincount(place, change), np.bincount(place).astype(float)


def _interval(sums: np.ndarray, counts: np.ndarray, seed: int) -> tuple[float, float]:
    """95 % interval of the mean where reds are drawn again, with all their agents.

    Plain percentiles are too narrow of few reds; these are moved out as far as Student's t lies outside the normal (the
    expanded percentile interval of Hesterberg 2015, "What teachers should know about the bootstrap").
    """
    count = len(sums)
    drawn = np.random.default_rng(seed).multinomial(count, [1 / count] * count, size=_DRAWS)
    means = (drawn @ sums) / (drawn @ counts)
    tail = 100 * float(norm.cdf(-math.sqrt(count / (count - 1)) * t.ppf(0.975, count - 1)))
    low, high = np.percentile(means, (tail, 100 - tail))
    return float(low), float(high)
