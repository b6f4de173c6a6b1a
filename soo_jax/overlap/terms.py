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
from soo_jax.overlap.views import OTHER, SELF, TEXT, Key, View, Views, base

DIRECTIONS = ("both", "other_to_self", "self_to_other")
_STOPPED = {"other_to_self": SELF, "self_to_other": OTHER}


@runtime_checkable
class Term(Protocol):
    """What an objective adds up."""

    @property
    def reads(self) -> tuple[tuple[str, Key], ...]:
        """Pairs (name of a view, key) that must have been read."""

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
        return tuple((view, key) for key in self.at for view in (SELF, OTHER))

    @property
    def still(self) -> tuple[str, ...]:
        """The view through which no gradient flows."""
        return (_STOPPED[self.direction],) if self.direction in _STOPPED else ()

    def __call__(self, views: Views) -> Array:
        return between(views[SELF], views[OTHER], self.distance, self.at, self.tokens, self.still)


def overlap(
    distance: Distance = mse, *, at: Key | tuple[Key, ...], tokens: str | None = "last", direction: str = "both"
) -> Overlap:
    r"""Distance between the self and the other view of the same agent: the SOO loss.

    .. math:: L = d(h_{self}, h_{other})

    Args:
      distance: ``(x, y, mask) -> scalar``.
      at: one key or several; with several keys or layers the mean over them is taken.
      tokens: ``last``, ``mean`` or ``all`` (paired from the end); None for agents without a token axis.
      direction: ``both`` moves both sides, ``other_to_self`` holds the self side still by a stop-gradient,
        ``self_to_other`` the other side. A stop-gradient does not keep a side in its place, for what moves one moves
        the other as well: see :func:`anchored`.

    Raises:
      SooError: an unknown pooling or direction.

    Source: Carauleanu et al. 2024, arXiv 2412.16325.

    >>> import jax.numpy as jnp
    >>> from soo_jax.overlap import View, overlap
    >>> ours, theirs = jnp.zeros((1, 3, 2)), jnp.ones((1, 3, 2))
    >>> mask = jnp.ones((1, 3), bool)
    >>> views = {"self": View({"h": ours}, mask), "other": View({"h": theirs}, mask)}
    >>> float(overlap(at="h", tokens="last")(views))
    1.0
    """
    _check_tokens(tokens)
    if direction not in DIRECTIONS:
        raise SooError(f"direction {direction!r} is unknown; choose {', '.join(DIRECTIONS)}")
    return Overlap(distance, _keys(at), tokens, direction)


@dataclass(frozen=True)
class Anchored:
    """See :func:`anchored`."""

    distance: Distance
    at: tuple[Key, ...]
    tokens: str | None

    @property
    def reads(self) -> tuple[tuple[str, Key], ...]:
        return tuple((view, key) for key in self.at for view in (SELF, OTHER, base(SELF)))

    def __call__(self, views: Views) -> Array:
        anchor, stopped = views[base(SELF)], (SELF,)
        to = lambda side: between(anchor, views[side], self.distance, self.at, self.tokens, stopped)
        return (to(SELF) + to(OTHER)) / 2


def anchored(distance: Distance = mse, *, at: Key | tuple[Key, ...], tokens: str | None = "last") -> Anchored:
    r"""Distance of both sides from where the self side was before fine-tuning, so that they can meet nowhere else.

    .. math:: L = \tfrac12 \left( d(h^0_{self}, h_{self}) + d(h^0_{self}, h_{other}) \right)

    Arguments as in :func:`overlap`. It costs one more pass of the base.

    >>> import jax.numpy as jnp
    >>> from soo_jax.overlap import View, anchored
    >>> mask = jnp.ones((1, 1), bool)
    >>> at = lambda x: View({"h": jnp.full((1, 1, 2), x)}, mask)
    >>> float(anchored(at="h")({"self": at(1.0), "other": at(2.0), "base:self": at(0.0)}))
    2.5
    """
    _check_tokens(tokens)
    return Anchored(distance, _keys(at), tokens)


@dataclass(frozen=True)
class Retain:
    """See :func:`retain`."""

    distance: Distance
    at: tuple[Key, ...]
    tokens: str | None

    @property
    def reads(self) -> tuple[tuple[str, Key], ...]:
        return tuple((view, key) for key in self.at for view in (base(TEXT), TEXT))

    def __call__(self, views: Views) -> Array:
        return between(views[base(TEXT)], views[TEXT], self.distance, self.at, self.tokens, (SELF,))


def retain(distance: Distance, *, at: Key | tuple[Key, ...], tokens: str | None = "all") -> Retain:
    r"""Distance from the agent before fine-tuning to the agent now, on ordinary inputs.

    .. math:: L = d(h^0_{text}, h_{text})

    >>> import jax.numpy as jnp
    >>> from soo_jax.overlap import View, mse, retain
    >>> mask = jnp.ones((1, 1), bool)
    >>> at = lambda x: View({"h": jnp.full((1, 1, 2), x)}, mask)
    >>> float(retain(mse, at="h")({"base:text": at(0.0), "text": at(3.0)}))
    9.0
    """
    _check_tokens(tokens)
    return Retain(distance, _keys(at), tokens)


def between(
    ours: View,
    theirs: View,
    distance: Distance,
    at: tuple[Key, ...],
    tokens: str | None,
    stopped: tuple[str, ...] = (),
) -> Array:
    r"""The distance between two views, for terms of your own.

    .. math:: L = \frac{1}{|A|} \sum_{a \in A} d(\mathrm{pool}(x_a), \mathrm{pool}(y_a))

    with :math:`x_a, y_a` what is read of the two at :math:`a`.

    Args:
      at: the keys A. tokens: how they are pooled, see :func:`overlap`.
      stopped: ``self`` stops the gradient through ``ours``, ``other`` through ``theirs``.

    >>> import jax.numpy as jnp
    >>> from soo_jax.overlap import View, between, mse
    >>> at = lambda x: View({"h": jnp.array([[x]])}, jnp.ones((1, 1), bool))
    >>> float(between(at([1.0, 0.0]), at([0.0, 1.0]), mse, ("h",), "last"))
    1.0
    """
    values = []
    for key in at:
        x, y, mask = pooled(ours.read[key], ours.mask, theirs.read[key], theirs.mask, tokens)
        x = jax.lax.stop_gradient(x) if SELF in stopped else x
        y = jax.lax.stop_gradient(y) if OTHER in stopped else y
        values.append(_mean_over_layers(distance, x, y, mask))
    return jnp.mean(jnp.stack(values))


def _keys(at: Key | tuple[Key, ...]) -> tuple[Key, ...]:
    return at if type(at) is tuple else (at,)


def _check_tokens(tokens: str | None) -> None:
    if tokens is not None and tokens not in POOLINGS:
        raise SooError(f"tokens {tokens!r} is unknown; choose {', '.join(POOLINGS)}")


@dataclass(frozen=True)
class LanguageModel:
    """See :func:`language_model`."""

    at: Key

    @property
    def reads(self) -> tuple[tuple[str, Key], ...]:
        return ((TEXT, self.at),)

    def __call__(self, views: Views) -> Array:
        text = views[TEXT]
        scores = jax.nn.log_softmax(text.read[self.at][:, :-1].astype(jnp.float32), axis=-1)
        chosen = jnp.take_along_axis(scores, text.tokens[:, 1:, None], axis=-1)[..., 0]
        mask = text.mask[:, 1:] & text.mask[:, :-1]
        return -jnp.sum(jnp.where(mask, chosen, 0.0)) / jnp.maximum(mask.sum(), 1)


def language_model(*, at: Key) -> LanguageModel:
    r"""Mean cross-entropy (nats per token) of ordinary text.

    .. math:: L = -\frac{1}{n} \sum_t \log p(x_{t + 1} \mid x_{\le t})

    Args:
      at: the key of the text's logits ``[B, T, V]``.

    >>> import jax.numpy as jnp
    >>> from soo_jax.overlap import View, language_model
    >>> even = View({"logits": jnp.zeros((1, 3, 8))}, jnp.ones((1, 3), bool), tokens=jnp.array([[5, 1, 7]]))
    >>> round(float(language_model(at="logits")({"text": even})), 4)  # log(8)
    2.0794
    """
    return LanguageModel(at)


def _mean_over_layers(distance: Distance, x: Array, y: Array, mask: Array) -> Array:
    if x.ndim == mask.ndim + 2:
        return jnp.mean(jax.vmap(lambda a, b: distance(a, b, mask))(x, y))
    return distance(x, y, mask)
