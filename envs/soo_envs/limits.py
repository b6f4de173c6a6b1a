"""What values the params of a world may have, checked where they are numbers and not being traced."""

from __future__ import annotations

import math
from collections.abc import Mapping
from dataclasses import fields
from typing import Any, NamedTuple

import jax
import numpy as np


class Limits(NamedTuple):
    """Where a parameter must lie: ``least <= x <= most``, or ``least < x`` with ``above``; always finite.

    Attributes:
      whole: only whole numbers.
    """

    least: float = -math.inf
    most: float = math.inf
    above: bool = False
    whole: bool = False

    def __str__(self) -> str:
        words = ["a whole number" if self.whole else "a finite number"]
        if self.least > -math.inf:
            words.append(f"{'above' if self.above else 'of at least'} {self.least:g}")
        if self.most < math.inf:
            words.append(f"{'and ' if len(words) > 1 else 'of '}at most {self.most:g}")
        return " ".join(words)

    def broken_by(self, value: Any) -> float | None:
        """The first number in ``value`` that is out of them; None if there is none, or while it is traced."""
        if isinstance(value, jax.core.Tracer):
            return None
        numbers = np.ravel(np.asarray(value, float))
        good = np.isfinite(numbers) & (numbers <= self.most)
        good &= (numbers > self.least) if self.above else (numbers >= self.least)
        if self.whole:
            good &= numbers == np.floor(numbers)
        return None if good.all() else float(numbers[~good][0])


def first_problem(values: Any, limits: Mapping[str, Limits]) -> str | None:
    """What is wrong with the fields of a dataclass, in one line; None if nothing is.

    Args:
      values: leaves may be arrays; those that are being traced cannot be checked. limits: by name of the field; fields
        without limits must be finite.
    """
    for field in fields(values):
        bounds = limits.get(field.name, Limits())
        wrong = bounds.broken_by(getattr(values, field.name))
        if wrong is not None:
            return f"{field.name} is {wrong:g}; it must be {bounds}"
    return None
