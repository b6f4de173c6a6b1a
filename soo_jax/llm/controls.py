"""Controls for any model: the same training on pairs that are not self and other, and other ways to make it honest.

If honesty came from any disturbance of this size, other pairs would bring it about as well. If SOO did no more than a
few honest answers or one added vector do, there would be no need for it.
"""

from __future__ import annotations

import random
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, replace
from typing import Any

import jax
import jax.numpy as jnp
import numpy as np
from jax import Array

from soo_jax.distributed import whole
from soo_jax.llm.config import FinetuneConfig
from soo_jax.models.decoder import forward
from soo_jax.models.lm import LM
from soo_jax.models.probes import Probe, logits
from soo_jax.overlap import Views, mse
from soo_jax.overlap.pooling import last
from soo_jax.tasks.records import Pair


def control_pairs(lm: LM, config: FinetuneConfig, pairs: Sequence[Pair], rng: random.Random) -> dict[str, list[Pair]]:
    """As many pairs as SOO has, out of the same texts, by control.

    ``self-self`` and ``other-other`` pair each text with the one of its own kind whose distance at the trained site is
    nearest to the mean distance of the SOO pairs, so that there is as much to overcome as can be had. ``shuffled``
    pairs each self text with the other text of some other pair.
    """
    own, other = ([getattr(pair, side) for pair in pairs] for side in ("self_text", "other_text"))
    wanted = float(np.mean(np.diagonal(_distances(lm, config, own, other))))
    return {
        "self-self": _matched(own, _distances(lm, config, own, own), wanted),
        "other-other": _matched(other, _distances(lm, config, other, other), wanted),
        "shuffled": [Pair(a, b) for a, b in zip(own, rng.sample(other, len(other)), strict=True)],
    }


def _matched(texts: list[str], distances: np.ndarray, wanted: float) -> list[Pair]:
    misfit = np.abs(distances - wanted)
    np.fill_diagonal(misfit, np.inf)
    return [Pair(texts[j], text) for text, j in zip(texts, misfit.argmin(axis=1), strict=True)]


def _distances(lm: LM, config: FinetuneConfig, ours: list[str], theirs: list[str]) -> np.ndarray:
    """Mean squared distance ``[P, P]`` at the trained site and layers, last token."""
    x, y = (_activations(lm, config, texts) for texts in (ours, theirs))
    return np.mean([np.mean((a[:, None] - b[None]) ** 2, axis=-1) for a, b in zip(x, y, strict=True)], axis=0)


def _activations(lm: LM, config: FinetuneConfig, texts: list[str]) -> np.ndarray:
    """``[L, P, D]`` at the trained site and layers, last token."""
    probe = Probe(config.site, layers_of(lm, config))
    tokens, mask = lm.encode([lm.put(text, config.chat, config.lead) for text in texts], chat=config.chat)
    return whole(last(forward(lm.config, lm.params, tokens, mask, (probe,))[probe], jnp.asarray(mask))[0])


def layers_of(lm: LM, config: FinetuneConfig) -> tuple[int, ...]:
    """The trained layers, one or several, counted from the first."""
    return Probe(config.site, config.layer).layers(lm.config.num_layers)


@dataclass(frozen=True)
class HonestAnswers:
    """Cross-entropy (nats per token) of what follows the question mark: plain supervised fine-tuning as a loss term."""

    question_mark: int

    @property
    def reads(self) -> tuple[tuple[str, Probe], ...]:
        return (("text", logits()),)

    def __call__(self, views: Views) -> Array:
        text = views["text"]
        answered = jnp.cumsum(text.tokens == self.question_mark, axis=1) > 0
        scores = jax.nn.log_softmax(text.read[logits()][:, :-1].astype(jnp.float32), axis=-1)
        chosen = jnp.take_along_axis(scores, text.tokens[:, 1:, None], axis=-1)[..., 0]
        mask = (answered & text.mask)[:, :-1]
        return -jnp.sum(jnp.where(mask, chosen, 0.0)) / jnp.maximum(mask.sum(), 1)


@dataclass(frozen=True)
class Turned:
    r"""Draws one side to where it was, moved as far as SOO would move it, but in another direction.

    .. math:: L = d(x_0 + R\,(y - x_0),\; x)

    with :math:`x` the side that moves, :math:`x_0` the same before training, :math:`y` the other side, and :math:`R` a
    shuffle of the coordinates with half of their signs changed.

    Reads pairs with the sides swapped: the text that moves is the self side. Its target is its own activation before
    training plus the difference to the other text, coordinates shuffled and half of the signs changed, so that what is
    to be overcome is as much as in SOO, to the digit, and nothing of what self and other differ in.

    Attributes:
      at: the trained site and layer, or layers. draw: number of the turn.
    """

    at: Probe
    draw: int

    @property
    def reads(self) -> tuple[tuple[str, Probe], ...]:
        return tuple((view, self.at) for view in ("base:self", "self", "other"))

    @property
    def still(self) -> tuple[str, ...]:
        return ("other",)

    def __call__(self, views: Views) -> Array:
        before, now, other = (
            last(views[name].read[self.at], views[name].mask) for name in ("base:self", "self", "other")
        )
        width = now[0].shape[-1]
        rng = np.random.default_rng(self.draw)
        order, signs = rng.permutation(width), rng.permuted(np.where(np.arange(width) % 2, 1.0, -1.0))
        way = jax.lax.stop_gradient(other[0]) - before[0]
        return mse(before[0] + way[..., order] * signs, now[0], now[1])


def steered(lm: LM, config: FinetuneConfig, pairs: Sequence[Pair], strength: float) -> LM:
    """The model with ``strength`` times the mean self-other difference added to the trained layers' attention output.

    The difference is taken at the last token of the SOO pairs and added at every position; nothing is trained.
    """
    own, other = (
        _activations(lm, config, [getattr(pair, side) for pair in pairs]) for side in ("self_text", "other_text")
    )
    layers: Mapping[str, Any] = lm.params["layers"]
    where = jnp.asarray(layers_of(lm, config))
    bias = jnp.zeros((lm.config.num_layers, lm.config.width)).at[where].set(strength * (own - other).mean(1))
    changed = {**layers, "o_proj": {**layers["o_proj"], "bias": bias}}
    return replace(lm, config=replace(lm.config, o_bias=True), params={**lm.params, "layers": changed})
