"""What happened in a fine-tuning, update by update."""

from __future__ import annotations

from collections.abc import Iterable
from dataclasses import dataclass
from typing import Any

import numpy as np

from soo_jax.adapters import Member
from soo_jax.adapters.members import SEED, columns

_OF_ALL = ("drift", "grad_norm")
"""Metrics that every objective has."""


@dataclass(frozen=True)
class History:
    """What happened during training.

    Attributes:
      members: what sets every stacked adapter apart.
      values: ``{metric: [U, S]}`` float32; metrics are ``loss``, each term by name (unweighted), ``drift``
        (Frobenius norm of the weight update over that of the adapted weights), ``grad_norm``.
      frozen_at: per adapter the update at which its loss or gradient was not finite (it was kept as it was
        before), or None.
    """

    members: tuple[Member, ...]
    values: dict[str, np.ndarray]
    frozen_at: tuple[int | None, ...]

    def rows(self) -> list[dict[str, Any]]:
        """Tidy training rows, one per update and adapter; numbers that are not finite become None."""
        rows = []
        metrics = in_order(self.values)
        for s, own in enumerate(columns(self.members)):
            for step in range(len(self.values["loss"])):
                row: dict[str, Any] = {SEED: own[SEED], "step": step + 1, **own}
                for name in metrics:
                    value = float(self.values[name][step, s])
                    row[name] = value if np.isfinite(value) else None
                rows.append(row)
        return rows


def in_order(names: Iterable[str]) -> list[str]:
    """Metrics with ``loss`` first, so that a row tells them from settings: a program hands them back by alphabet."""
    return ["loss", *(name for name in names if name not in ("loss", *_OF_ALL)), *_OF_ALL]
