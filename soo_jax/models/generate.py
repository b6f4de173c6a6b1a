"""Generation: one batched prefill, then a ``while_loop`` that ends when every row is done.

The function is pure and takes stacked adapters: S adapters answer the same prompts in one program over one copy of
the base weights.
"""

from __future__ import annotations

from functools import partial
from typing import NamedTuple

import jax
import jax.numpy as jnp
from jax import Array

from soo_jax.models.config import DecoderConfig
from soo_jax.models.decoder import Adapters, Cache, Params, run_layers, text_positions, unembed
from soo_jax.models.layers import Embedding
from soo_jax.models.probes import Pass


class Sampling(NamedTuple):
    """How the next token is chosen: ``temperature`` 0 is greedy; ``top_p`` keeps the likeliest mass."""

    temperature: float = 0.0
    top_p: float = 1.0


GREEDY = Sampling()


class Continuation(NamedTuple):
    """What was generated.

    Attributes:
      tokens: ``[B, N]`` int32 (``[S, B, N]``). finite: ``[B]`` bool (``[S, B]``): whether every choice rested on
        finite logits; where not, the tokens mean nothing.
    """

    tokens: Array
    finite: Array


class _State(NamedTuple):
    step: Array
    cache: Cache
    token: Array
    done: Array
    finite: Array
    out: Array
    key: Array


@partial(
    jax.jit, static_argnames=("config", "max_new_tokens", "stop_tokens", "pad_token", "sampling", "stacked", "first")
)
def generate(
    config: DecoderConfig,
    params: Params,
    tokens: Array,
    mask: Array,
    key: Array,
    *,
    max_new_tokens: int,
    stop_tokens: tuple[int, ...],
    pad_token: int = 0,
    sampling: Sampling = GREEDY,
    adapters: Adapters | None = None,
    stacked: bool = False,
    first: int = 0,
) -> Continuation:
    """Continues every prompt until a stop token or ``max_new_tokens``.

    Args:
      tokens: ``[B, T]`` left-padded prompts. mask: ``[B, T]`` bool.
      key: for sampling; greedy decoding does not use it.
      stop_tokens: ids that end a row; the stop token itself is part of the result.
      pad_token: fills a row after its end.
      adapters: with ``stacked``, a pytree whose leaves have a leading axis S.
      first: layers below it are the same for all of a stack: the prompts go through them once.

    Returns:
      Tokens ``[B, max_new_tokens]``, or ``[S, B, max_new_tokens]`` with ``stacked``, and whether they can be trusted.
    """
    batch, prompt = tokens.shape
    slots = prompt + max_new_tokens
    text = jnp.concatenate([mask, jnp.ones((batch, max_new_tokens), bool)], axis=1)
    key_positions = text_positions(text)
    shape = (config.num_layers, batch, config.num_kv_heads, slots, config.head_dim)
    dtype = params["embedding"]["embedding"].dtype

    def through(
        adapters: Adapters | None, cache: Cache, x: Array, slot: Array, begin: int = 0, end: int = config.num_layers
    ) -> tuple[Cache, Array]:
        """Takes the stream ``x [B, n, D]`` at ``slot`` from layer ``begin`` to ``end``, and extends the cache."""
        own = slot + jnp.arange(x.shape[1])
        attend = (jnp.arange(slots) <= own[:, None]) & text[:, None, :]
        positions = jax.lax.dynamic_slice_in_dim(key_positions, slot, x.shape[1], 1)
        todo = Pass(depth=end, attention_only=False, reads=(), logits=True)
        x, _, _, cache = run_layers(
            config, params["layers"], x, positions, key_positions, attend, todo, adapters,
            cache=cache, cache_slot=slot, first=begin,
        )  # fmt: skip
        return cache, x

    def embed(fed: Array) -> Array:
        return Embedding(config).apply({"params": params["embedding"]}, fed, method="embed")

    def extend(adapters: Adapters | None, cache: Cache, fed: Array, slot: Array) -> tuple[Cache, Array]:
        """Feeds ``fed [B, n]`` at ``slot``; returns the cache and the logits after the last token ``[B, V]``."""
        cache, x = through(adapters, cache, embed(fed), slot)
        return cache, unembed(config, params, x[:, -1])

    def begin(adapters: Adapters | None, cache: Cache, x: Array) -> tuple[Cache, Array]:
        cache, x = through(adapters, cache, x, 0, first)
        return cache, unembed(config, params, x[:, -1])

    zeros = jnp.zeros(shape, dtype)
    cache, x = Cache(zeros, zeros), embed(tokens)
    if first:
        cache, x = through(None, cache, x, 0, end=first)
    feed = extend
    lead: tuple[int, ...] = ()
    if stacked:
        lead = (jax.tree.leaves(adapters)[0].shape[0],)
        feed, begin = jax.vmap(extend, in_axes=(0, 0, 0, None)), jax.vmap(begin, in_axes=(0, None, None))
    cache, scores = begin(adapters, cache, x)
    stops = jnp.asarray(stop_tokens or (-1,))

    def choose(state: _State, scores: Array) -> _State:
        key, own = jax.random.split(state.key)
        token = jnp.where(state.done, pad_token, _sample(scores, own, sampling)).astype(jnp.int32)
        out = jax.lax.dynamic_update_index_in_dim(state.out, token, state.step, -1)
        finite = state.finite & (state.done | jnp.isfinite(scores).all(-1))
        done = state.done | jnp.isin(token, stops)
        return state._replace(step=state.step + 1, token=token, done=done, finite=finite, out=out, key=key)

    def body(state: _State) -> _State:
        cache, scores = feed(adapters, state.cache, state.token[..., None], prompt + state.step - 1)
        return choose(state._replace(cache=cache), scores)

    rows = (*lead, batch)
    start = _State(
        jnp.asarray(0),
        cache,
        jnp.zeros(rows, jnp.int32),
        jnp.zeros(rows, bool) | ~mask.any(axis=1),
        jnp.ones(rows, bool),
        jnp.full((*rows, max_new_tokens), pad_token, jnp.int32),
        key,
    )
    running = lambda state: (state.step < max_new_tokens) & ~state.done.all()
    end = jax.lax.while_loop(running, body, choose(start, scores))
    return Continuation(end.out, end.finite)


def _sample(scores: Array, key: Array, sampling: Sampling) -> Array:
    if sampling.temperature == 0.0:
        return scores.argmax(-1)
    scores = scores / sampling.temperature
    if sampling.top_p < 1.0:
        ordered = jnp.sort(scores, axis=-1, descending=True)
        before = jnp.cumsum(jax.nn.softmax(ordered, axis=-1), axis=-1) - jax.nn.softmax(ordered, axis=-1)
        # The likeliest token always stays: nothing stands before it.
        least = jnp.where(before < sampling.top_p, ordered, jnp.inf).min(-1, keepdims=True)
        scores = jnp.where(scores >= least, scores, -jnp.inf)
    return jax.random.categorical(key, scores, axis=-1)


def bucket(length: int, limit: int | None = None) -> int:
    """The static width that a prompt of ``length`` tokens is padded to: 8, 12, 16, 24, 32, 48, 64, 96, 128, ...

    Widths grow by a third to a half each, so a run compiles a handful of programs and pads little.
    """
    width = 8
    while width < length:
        power = 1 << (width.bit_length() - 1)
        width = power + power // 2 if width == power else power * 2
    return width if limit is None else min(width, limit)


def snug(length: int, limit: int) -> int:
    """The static width for a batch whose longest row has ``length`` tokens: at most an eighth more, in few steps."""
    step = max(8, 1 << max(0, length.bit_length() - 4))
    return min(-(-length // step) * step, limit)
