"""How far adapters moved a model on ordinary texts, without any judge: perplexity, divergence, first choices."""

from __future__ import annotations

import math
from collections.abc import Iterable, Mapping, Sequence
from functools import partial
from typing import Any, NamedTuple

import jax
import jax.numpy as jnp
import numpy as np
from jax import Array

from soo_jax.adapters import Lora, Stack
from soo_jax.adapters.members import SEED, columns
from soo_jax.distributed import whole
from soo_jax.errors import SooError
from soo_jax.llm.evaluate import batches
from soo_jax.models.config import DecoderConfig
from soo_jax.models.decoder import Params, forward
from soo_jax.models.lm import LM
from soo_jax.models.probes import Probe, logits, residual
from soo_jax.tidy import finite_row

BATCH = 8
"""Texts in one device call; their logits over the whole vocabulary must fit."""


class _Sums(NamedTuple):
    """Over all predicted tokens: surprise of the text, divergence from the base (nats), same first choice, tokens."""

    surprise: Array
    divergence: Array
    same: Array
    tokens: Array


def drift_rows(
    lm: LM,
    texts: Sequence[str],
    *,
    adapters: Stack | Lora | Iterable[Lora] | None = None,
    condition: str | None = None,
    base: LM | None = None,
) -> list[dict[str, Any]]:
    """What the base model, or each adapter of a stack, makes of ordinary texts, as far as they fit its context.

    Args:
      base: the model from which ``kl`` and ``top1`` are measured, where ``lm`` is another one (steered, say).

    Returns:
      Rows ``{condition, seed, tokens, perplexity, kl, top1}``, and what else sets the adapters apart. ``kl`` is the
      mean divergence KL(base || adapter) in nats per token, ``top1`` the share of tokens for which both would choose
      the same; 0 and 1 for the base. What is not finite is None.

    Raises:
      SooError: no texts, or none of two tokens.
    """
    if not texts:
        raise SooError("drift: no texts given; give at least one")
    rows = [row[: lm.config.max_positions] for row in lm.token_ids(texts)]
    if max(map(len, rows)) < 2:
        raise SooError("drift: the texts are too short; one must have two tokens at least")
    stack = None if adapters is None else Stack.of(adapters, None, lm.config)
    own = [{SEED: None}] if stack is None else columns(stack.members)
    lora = None if stack is None else stack.lora
    origin = (None, None) if base is None else (base.config, base.params)
    parts = [
        [whole(part).astype(np.float64) for part in _measure(lm.config, lm.params, tokens, mask, lora, *origin)]
        for _, tokens, mask in batches(lm, rows, BATCH)
    ]
    surprise, divergence, same, tokens = (sum(part) for part in zip(*parts, strict=True))
    return [
        finite_row(
            {
                "condition": condition or ("base" if stack is None else "soo"),
                **member,
                "tokens": int(tokens[s]),
                "perplexity": math.exp(min(surprise[s] / tokens[s], 700.0)),
                "kl": float(divergence[s] / tokens[s]),
                "top1": float(same[s] / tokens[s]),
            }
        )
        for s, member in enumerate(own)
    ]


@partial(jax.jit, static_argnames=("config", "base_config"))
def _measure(
    config: DecoderConfig,
    params: Params,
    tokens: Array,
    mask: Array,
    stack: Lora | None,
    base_config: DecoderConfig | None,
    base_params: Params | None,
) -> _Sums:
    """Sums ``[S]`` over the tokens of a batch; adapters one after the other, so that one has its logits at a time."""
    told = mask[:, 1:] & mask[:, :-1]
    # What lies below all adapters of a stack is the same for each of them, and for the base.
    first = 0 if stack is None else stack.config.lowest_layer
    below = residual(first - 1)
    entering = forward(config, params, tokens, mask, (below,))[below] if first else None

    def told_by(read: Mapping[Probe, Array]) -> Array:
        return jax.nn.log_softmax(read[logits()][:, :-1].astype(jnp.float32))

    def scores(lora: Lora | None) -> Array:
        return told_by(
            forward(config, params, tokens, mask, (logits(),), adapters=lora, first=first, entering=entering)
        )

    itself = base_config is None or base_params is None
    base = scores(None) if itself else told_by(forward(base_config, base_params, tokens, mask, (logits(),)))

    def sums(lora: Lora | None) -> _Sums:
        own = base if itself and lora is None else scores(lora)
        surprise = -jnp.take_along_axis(own, tokens[:, 1:, None], axis=-1)[..., 0]
        divergence = (jnp.exp(base) * (base - own)).sum(-1)
        same = own.argmax(-1) == base.argmax(-1)
        return _Sums(*(jnp.where(told, part, 0).sum() for part in (surprise, divergence, same)), told.sum())

    if stack is None:
        return jax.tree.map(lambda leaf: leaf[None], sums(None))
    return jax.lax.map(sums, stack)
