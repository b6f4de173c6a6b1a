"""The weighted sum of terms."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass

import jax.numpy as jnp
from jax import Array

from soo_jax.errors import SooError
from soo_jax.overlap.terms import Term
from soo_jax.overlap.views import Key, Views, is_base


@dataclass(frozen=True)
class Objective:
    """Named, weighted terms; a hashable value, so that it can be static in jit. Made by :func:`weighted`."""

    names: tuple[str, ...]
    weights: tuple[float, ...]
    terms: tuple[Term, ...]

    @property
    def reads(self) -> dict[str, tuple[Key, ...]]:
        """For each view that some term needs, by name, the keys that must have been read."""
        wanted: dict[str, dict[Key, None]] = {}
        for term in self.terms:
            for view, key in term.reads:
                wanted.setdefault(view, {})[key] = None
        return {view: tuple(keys) for view, keys in wanted.items()}

    @property
    def still(self) -> frozenset[str]:
        """The views through which no term of this objective sends a gradient; they need no backward pass."""
        moved = {view for term in self.terms for view, _ in term.reads if view not in getattr(term, "still", ())}
        return frozenset(name for name in self.reads if not is_base(name)) - moved

    def __call__(self, views: Views, weights: Mapping[str, Array] | None = None) -> tuple[Array, dict[str, Array]]:
        """Loss and the unweighted value of every term by name.

        Args:
          weights: replaces the weights of some terms, as arrays that may be traced and vmapped.
        """
        missing = sorted(set(self.reads) - set(views))
        if missing:
            raise SooError(f"view {missing[0]!r}: a term reads it, but it was not given; given are {', '.join(views)}")
        metrics = {name: term(views) for name, term in zip(self.names, self.terms, strict=True)}
        chosen = {**dict(zip(self.names, self.weights, strict=True)), **(weights or {})}
        loss = jnp.asarray(0.0, jnp.float32)
        for name, value in metrics.items():
            loss = loss + chosen[name] * value
        return loss, metrics


def weighted(**terms: tuple[float, Term]) -> Objective:
    r"""Adds terms up.

    .. math:: L = \sum_i w_i L_i

    Args:
      terms: by name ``(weight, term)``.

    Raises:
      SooError: no term, or a weight that is no finite number.

    >>> import jax.numpy as jnp
    >>> from soo_jax.overlap import View, cosine, mse, overlap, weighted
    >>> objective = weighted(near=(1.0, overlap(mse, at="h")), turned=(0.5, overlap(cosine, at="h")))
    >>> at = lambda x: View({"h": jnp.array([[x]])}, jnp.ones((1, 1), bool))
    >>> loss, metrics = objective({"self": at([1.0, 0.0]), "other": at([0.0, 1.0])})
    >>> float(loss), {name: float(value) for name, value in metrics.items()}
    (1.5, {'near': 1.0, 'turned': 1.0})
    """
    if not terms:
        raise SooError("an objective needs at least one term")
    for name, (weight, _) in terms.items():
        if not jnp.isfinite(weight):
            raise SooError(f"weight of term {name} must be a finite number, found {weight!r}")
    return Objective(
        tuple(terms), tuple(float(weight) for weight, _ in terms.values()), tuple(term for _, term in terms.values())
    )
