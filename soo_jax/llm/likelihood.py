"""How likely a model finds the end of a text: log-probabilities of given continuations, base or adapter."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from functools import partial
from typing import NamedTuple

import jax
import jax.numpy as jnp
from jax import Array

from soo_jax.adapters import Lora
from soo_jax.distributed import whole
from soo_jax.llm.evaluate import batches
from soo_jax.models.config import DecoderConfig
from soo_jax.models.decoder import Params, forward
from soo_jax.models.lm import LM
from soo_jax.models.probes import logits

BATCH = 8
"""Texts in one device call; their logits over the whole vocabulary must fit."""


class Likelihood(NamedTuple):
    """Of a continuation: its log-probability (nats), and whether each of its tokens is the model's first choice."""

    logp: float
    greedy: bool


def likelihoods(
    lm: LM,
    pairs: Sequence[tuple[Sequence[int], Sequence[int]]],
    adapter: Lora | None = None,
    batch_size: int = BATCH,
    progress: Callable[[int, int], None] | None = None,
) -> list[Likelihood]:
    """The likelihood of every continuation after its context.

    Args:
      pairs: ids of context and continuation, neither empty. What does not fit the model's context is cut off in front.
    """
    read = [([*context, *end][:-1][-lm.config.max_positions :], list(end)) for context, end in pairs]
    found: list[Likelihood | None] = [None] * len(read)
    done = 0
    for indices, tokens, mask in batches(lm, [row for row, _ in read], batch_size):
        width, count = tokens.shape[1], tokens.shape[0]
        ends = [read[i][1][-width:] for i in indices]
        asked, told = lm.pad(ends, width, count)
        logp, first = map(whole, _scores(lm.config, lm.params, tokens, mask, jnp.asarray(asked), adapter))
        for row, i in enumerate(indices):
            own = told[row]
            found[i] = Likelihood(float(logp[row][own].sum(dtype="float64")), bool(first[row][own].all()))
        done += len(indices)
        if progress is not None:
            progress(done, len(read))
    return [one for one in found if one is not None]


@partial(jax.jit, static_argnames="config")
def _scores(
    config: DecoderConfig, params: Params, tokens: Array, mask: Array, asked: Array, adapter: Lora | None
) -> tuple[Array, Array]:
    """``[B, T]``: the log-probability of the id that is asked for after each token, and whether it is the likeliest."""
    read = forward(config, params, tokens, mask, (logits(),), adapters=adapter)[logits()].astype(jnp.float32)
    scores = jax.nn.log_softmax(read)
    return jnp.take_along_axis(scores, asked[..., None], axis=-1)[..., 0], scores.argmax(-1) == asked
