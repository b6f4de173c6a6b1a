"""Loss terms: hashable values that say what they read and turn it into a scalar.

A term of your own needs no registration: a frozen dataclass (or any hashable object) with ``reads`` and
``__call__(views) -> scalar``, and if it stops the gradient of a whole view, ``still``, which saves a backward pass.
Most often a new *distance*, a function of two arrays and a mask, is enough: ``overlap(my_distance, at=...)``.
"""

from __future__ import annotations

from dataclasses import dataclass
from typing import Protocol, runtime_checkable

import jax
import jax.numpy as jnp
from jax import Array

from soo_jax.errors import SooError
from soo_jax.overlap.distances import Distance, mse
from soo_jax.overlap.pooling import POOLINGS, pooled
from soo_jax.overlap.views import Key, View, Views

DIRECTIONS = ("both", "other_to_self", "self_to_other", "anchored")


@runtime_checkable
class Term(Protocol):
    """What an objective adds up."""

    @property
    def reads(self) -> tuple[tuple[str, Key], ...]:
        """Pairs (field of :class:`Views`, key) that must have been read."""

    def __call__(self, views: Views) -> Array:
        """A scalar."""


@dataclass(frozen=True)
class Overlap:
    """See :func:`overlap`."""

    distance: Distance
    at: tuple[Key, ...]
    tokens: str | None
    direction: str

    @property
    def reads(self) -> tuple[tuple[str, Key], ...]:
        views = ("self_view", "other_view") + (("base_self",) if self.direction == "anchored" else ())
        return tuple((view, key) for key in self.at for view in views)

    @property
    def still(self) -> tuple[str, ...]:
        """The view through which no gradient flows."""
        return {"other_to_self": ("self_view",), "self_to_other": ("other_view",)}.get(self.direction, ())

    def __call__(self, views: Views) -> Array:
        if self.direction == "anchored":
            sides = (views.self_view, views.other_view)
            return sum(self._between(views.base_self, side, True, False) for side in sides) / 2
        return self._between(
            views.self_view, views.other_view, self.direction == "other_to_self", self.direction == "self_to_other"
        )

    def _between(self, ours: View, theirs: View, stop_self: bool, stop_other: bool) -> Array:
        values = []
        for key in self.at:
            x, y, mask = pooled(ours.read[key], ours.mask, theirs.read[key], theirs.mask, self.tokens)
            x = jax.lax.stop_gradient(x) if stop_self else x
            y = jax.lax.stop_gradient(y) if stop_other else y
            values.append(_mean_over_layers(self.distance, x, y, mask))
        return jnp.mean(jnp.stack(values))


def overlap(
    distance: Distance = mse, *, at: Key | tuple[Key, ...], tokens: str | None = "last", direction: str = "both"
) -> Overlap:
    """Distance between the self and the other view of the same agent: the SOO loss (Carauleanu et al. 2024).

    Args:
      distance: ``(x, y, mask) -> scalar``.
      at: one key or several; with several keys or layers the mean over them is taken.
      tokens: ``last``, ``mean`` or ``all`` (paired from the end); None for agents without a token axis.
      direction: ``both`` moves both sides, ``other_to_self`` holds the self side still by a stop-gradient,
        ``self_to_other`` the other side. A stop-gradient does not keep a side in its place, for what moves one moves
        the other as well; ``anchored`` draws both sides to where the self side was before fine-tuning, so that they
        cannot meet anywhere else.
    """
    if tokens is not None and tokens not in POOLINGS:
        raise SooError(f"tokens {tokens!r} is unknown; choose {', '.join(POOLINGS)}")
    if direction not in DIRECTIONS:
        raise SooError(f"direction {direction!r} is unknown; choose {', '.join(DIRECTIONS)}")
    return Overlap(distance, at if type(at) is tuple else (at,), tokens, direction)


@dataclass(frozen=True)
class Retain:
    """See :func:`retain`."""

    distance: Distance
    at: tuple[Key, ...]
    tokens: str | None

    @property
    def reads(self) -> tuple[tuple[str, Key], ...]:
        return tuple((view, key) for key in self.at for view in ("base_text", "text"))

    def __call__(self, views: Views) -> Array:
        base, now = views.base_text, views.text
        values = []
        for key in self.at:
            x, y, mask = pooled(base.read[key], base.mask, now.read[key], now.mask, self.tokens)
            values.append(_mean_over_layers(self.distance, jax.lax.stop_gradient(x), y, mask))
        return jnp.mean(jnp.stack(values))


def retain(distance: Distance, *, at: Key | tuple[Key, ...], tokens: str | None = "all") -> Retain:
    """Distance from the agent before fine-tuning to the agent now, on ordinary inputs."""
    return Retain(distance, at if type(at) is tuple else (at,), tokens)


@dataclass(frozen=True)
class LanguageModel:
    """See :func:`language_model`."""

    at: Key

    @property
    def reads(self) -> tuple[tuple[str, Key], ...]:
        return (("text", self.at),)

    def __call__(self, views: Views) -> Array:
        text = views.text
        scores = jax.nn.log_softmax(text.read[self.at][:, :-1].astype(jnp.float32), axis=-1)
        chosen = jnp.take_along_axis(scores, text.tokens[:, 1:, None], axis=-1)[..., 0]
        mask = text.mask[:, 1:] & text.mask[:, :-1]
        return -jnp.sum(jnp.where(mask, chosen, 0.0)) / jnp.maximum(mask.sum(), 1)


def language_model(*, at: Key) -> LanguageModel:
    """Mean cross-entropy (nats per token) of ordinary text; ``at`` is the key of its logits ``[B, T, V]``."""
    return LanguageModel(at)


def _mean_over_layers(distance: Distance, x: Array, y: Array, mask: Array) -> Array:
    if x.ndim == mask.ndim + 2:
        return jnp.mean(jax.vmap(lambda a, b: distance(a, b, mask))(x, y))
    return distance(x, y, mask)
