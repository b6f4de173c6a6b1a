"""Generation: one batched prefill, then a ``while_loop`` that ends when every row is done.

Where answers may be long, the loop goes on with half of the rows, and half of these again, once so many are done.

The function is pure and takes stacked adapters: S adapters answer the same prompts in one program over one copy of
the base weights.
"""

from __future__ import annotations

from collections.abc import Sequence
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


class Branches(NamedTuple):
    """Texts that may follow each prompt, whose log-probabilities are wanted: a trunk, and what branches off it.

    They are read behind the prompts' own keys and values, so that no prompt is computed again.

    Attributes:
      tokens: ``[B, n]`` ids; the last ``again`` tokens of the prompt come first, once more.
      positions: ``[B, n]`` rotary positions in the row's own text.
      attend: ``[B, n, n]`` bool, True where a token (axis 1) may see another one of the same row (axis 2).
      place, asked: ``[B, K]``: the log-probability of id ``asked`` after token ``place`` is wanted.
      again: how many tokens of the prompt are told once more (scalar).
    """

    tokens: Array
    positions: Array
    attend: Array
    place: Array
    asked: Array
    again: Array


class Continuation(NamedTuple):
    """What was generated.

    Attributes:
      tokens: ``[B, N]`` int32 (``[S, B, N]``). finite: ``[B]`` bool (``[S, B]``): whether every choice rested on
        finite logits; where not, the tokens mean nothing.
      branches: log-probabilities ``[B, K]`` (``[S, B, K]``) in nats of what the branches ask for; None without any.
    """

    tokens: Array
    finite: Array
    branches: Array | None = None


class _State(NamedTuple):
    """``rows [b]`` are still fed, of ``B``; cache, token and done are theirs, finite and out are of all."""

    step: Array
    rows: Array
    cache: Cache
    token: Array
    done: Array
    finite: Array
    out: Array
    key: Array


LONG, FEWEST = 128, 8
"""From so many new tokens on, rows that are done make room, down to so few rows: each size is compiled for itself."""


@partial(
    jax.jit,
    static_argnames=(
        *("config", "max_new_tokens", "stop_tokens", "pad_token", "sampling", "stacked", "first", "makes_room"),
    ),
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
    prefix: Array | None = None,
    branches: Branches | None = None,
    makes_room: bool = True,
) -> Continuation:
    """Continues every prompt until a stop token or ``max_new_tokens``.

    Args:
      tokens: ``[B, T]`` left-padded prompts. mask: ``[B, T]`` bool.
      key: for sampling; greedy decoding does not use it.
      stop_tokens: ids that end a row; the stop token itself is part of the result.
      pad_token: fills a row after its end.
      adapters: with ``stacked``, a pytree whose leaves have a leading axis S.
      first: layers below it are the same for all of a stack: the prompts go through them once.
      prefix: ``[P]`` ids with which all prompts begin, left out of ``tokens``; they are computed once for all rows.
      branches: what else is asked of each prompt, beside its continuation.
      makes_room: no longer feed most rows that are done, where answers may be long; rows of a mesh had better stay
        where they are.

    Returns:
      Tokens ``[B, max_new_tokens]``, or ``[S, B, max_new_tokens]`` with ``stacked``, whether they can be trusted, and
      what the branches ask for.
    """
    batch, width = tokens.shape
    shared = 0 if prefix is None else prefix.shape[0]
    prompt = shared + width
    before = jnp.concatenate([jnp.ones((batch, shared), bool), mask], axis=1)
    text = jnp.concatenate([before, jnp.ones((batch, max_new_tokens), bool)], axis=1)
    through = partial(_through, config, params)

    def embed(fed: Array) -> Array:
        return Embedding(config).apply({"params": params["embedding"]}, fed, method="embed")

    def empty(rows: int, slots: int) -> Cache:
        shape = (config.num_layers, rows, config.num_kv_heads, slots, config.head_dim)
        zeros = jnp.zeros(shape, params["embedding"]["embedding"].dtype)
        return Cache(zeros, zeros)

    def read(adapters: Adapters | None, prompts: _Prompts, begin: int, end: int) -> _Prompts:
        """Takes the prompts from layer ``begin`` to ``end``."""
        kept, shared_kept, x, shared_x = prompts
        if shared:
            every = jnp.ones((1, shared), bool)
            shared_kept, shared_x = through(adapters, shared_kept, shared_x, 0, every, begin, end)
            spread = lambda one, rows: rows.at[:, :, :, :shared].set(one)
            kept = jax.tree.map(spread, shared_kept, kept)
        kept, x = through(adapters, kept, x, shared, before, begin, end)
        return _Prompts(kept, shared_kept, x, shared_x)

    def begin(adapters: Adapters | None, prompts: _Prompts) -> tuple[Cache, Array, Array | None]:
        """The cache with room for what follows, the logits after the prompts ``[B, V]``, and those of the branches."""
        kept, _, x, _ = read(adapters, prompts, first, config.num_layers)
        scores = None if branches is None else _branch_scores(config, params, adapters, kept, before, branches)
        room = lambda part: jnp.pad(part, ((0, 0),) * 3 + ((0, max_new_tokens), (0, 0)))
        return jax.tree.map(room, kept), unembed(config, params, x[:, -1]), scores

    def feed(adapters: Adapters | None, cache: Cache, rows: Array, fed: Array, slot: Array) -> tuple[Cache, Array]:
        """Feeds ``fed [b, 1]`` of ``rows [b]`` at ``slot``; returns the cache and the logits after it ``[b, V]``."""
        cache, x = through(adapters, cache, embed(fed), slot, text[rows])
        return cache, unembed(config, params, x[:, -1])

    prompts = _Prompts(
        empty(batch, prompt), empty(1, shared), embed(tokens), embed(prefix[None]) if prefix is not None else None
    )
    if first:
        prompts = read(None, prompts, 0, first)
    lead: tuple[int, ...] = ()
    if stacked:
        lead = (jax.tree.leaves(adapters)[0].shape[0],)
        feed, begin = jax.vmap(feed, in_axes=(0, 0, 0, 0, None)), jax.vmap(begin, in_axes=(0, None))
    cache, scores, asked = begin(adapters, prompts)
    stops = jnp.asarray(stop_tokens or (-1,))
    each = jax.vmap if stacked else lambda function: function
    sample = each(partial(_sample, sampling=sampling))
    mark = each(lambda all_rows, rows, values: all_rows.at[rows].set(values))
    keep = lambda count: each(lambda row: jnp.argsort(row, stable=True)[:count])

    def choose(state: _State, scores: Array) -> _State:
        key, own = jax.random.split(state.key)
        drawn = sample(scores, state.rows, jax.random.split(own, lead) if lead else own)
        token = jnp.where(state.done, pad_token, drawn).astype(jnp.int32)
        column = jnp.take(state.out, state.step, axis=-1)
        out = jax.lax.dynamic_update_index_in_dim(state.out, mark(column, state.rows, token), state.step, -1)
        known = jnp.take_along_axis(state.finite, state.rows, -1) & (state.done | jnp.isfinite(scores).all(-1))
        return state._replace(
            step=state.step + 1,
            token=token,
            done=state.done | jnp.isin(token, stops),
            finite=mark(state.finite, state.rows, known),
            out=out,
            key=key,
        )

    def body(state: _State) -> _State:
        cache, scores = feed(adapters, state.cache, state.rows, state.token[..., None], prompt + state.step - 1)
        return choose(state._replace(cache=cache), scores)

    def fewer(state: _State, count: int) -> _State:
        """The state with ``count`` rows of each member: those that are not done, and others to fill them up."""
        kept = keep(count)(state.done)
        take = each(lambda values, at: values[at])
        cache = each(lambda part, at: part[:, at])
        return state._replace(
            rows=take(state.rows, kept),
            token=take(state.token, kept),
            done=take(state.done, kept),
            cache=jax.tree.map(lambda part: cache(part, kept), state.cache),
        )

    rows = (*lead, batch)
    start = _State(
        jnp.asarray(0),
        jnp.broadcast_to(jnp.arange(batch), rows),
        cache,
        jnp.zeros(rows, jnp.int32),
        jnp.zeros(rows, bool) | ~mask.any(axis=1),
        jnp.ones(rows, bool),
        jnp.full((*rows, max_new_tokens), pad_token, jnp.int32),
        key,
    )
    state = choose(start, scores)
    for following in (*_sizes(batch, max_new_tokens if makes_room else 0), 0):
        more = lambda state, enough=following: (state.step < max_new_tokens) & ((~state.done).sum(-1).max() > enough)
        state = jax.lax.while_loop(more, body, state)
        if following:
            state = fewer(state, following)
    return Continuation(state.out, state.finite, asked)


def _sizes(batch: int, new: int) -> tuple[int, ...]:
    """To how many rows a batch shrinks, one after the other: halves of halves."""
    count = 0 if new < LONG else max(0, (batch // FEWEST).bit_length() - 1)
    return tuple(batch >> (i + 1) for i in range(count))


class _Prompts(NamedTuple):
    """Prompts on their way through the layers: their cache and stream, and those of what they all begin with."""

    cache: Cache
    shared_cache: Cache
    x: Array
    shared_x: Array | None


def _through(
    config: DecoderConfig,
    params: Params,
    adapters: Adapters | None,
    cache: Cache,
    x: Array,
    slot: Array | int,
    text: Array,
    begin: int = 0,
    end: int | None = None,
) -> tuple[Cache, Array]:
    """Takes the stream ``x [B, n, D]`` at ``slot`` from layer ``begin`` to ``end``, and extends the cache, in which
    ``text [B, slots]`` says what may be seen."""
    own = slot + jnp.arange(x.shape[1])
    attend = (jnp.arange(text.shape[1]) <= own[:, None]) & text[:, None, :]
    key_positions = text_positions(text)
    positions = jax.lax.dynamic_slice_in_dim(key_positions, slot, x.shape[1], 1)
    x, _, _, cache = run_layers(
        config, params["layers"], x, positions, key_positions, attend, _whole(config, end), adapters,
        cache=cache, cache_slot=slot, first=begin,
    )  # fmt: skip
    return cache, x


def _branch_scores(
    config: DecoderConfig, params: Params, adapters: Adapters | None, cache: Cache, text: Array, branches: Branches
) -> Array:
    """Log-probabilities ``[B, K]`` behind prompts whose keys and values ``cache`` holds; it stays as it is."""
    slots = text.shape[1]
    seen = text & (jnp.arange(slots) < slots - branches.again)
    seen = jnp.broadcast_to(seen[:, None, :], (*branches.tokens.shape, slots))
    x = Embedding(config).apply({"params": params["embedding"]}, branches.tokens, method="embed")
    x, _, _, _ = run_layers(
        config,
        params["layers"],
        x,
        branches.positions,
        jnp.concatenate([text_positions(text), branches.positions], axis=1),
        jnp.concatenate([seen, branches.attend], axis=-1),
        _whole(config),
        adapters,
        cache=cache,
        cache_slot=None,
    )

    def one(ask: tuple[Array, Array]) -> Array:  # one after the other, so that one has its logits at a time
        place, asked = ask
        scores = unembed(config, params, jnp.take_along_axis(x, place[:, None, None], axis=1)[:, 0])
        return jnp.take_along_axis(jax.nn.log_softmax(scores, axis=-1), asked[:, None], axis=-1)[:, 0]

    return jax.lax.map(one, (branches.place.T, branches.asked.T)).T


def _whole(config: DecoderConfig, end: int | None = None) -> Pass:
    return Pass(depth=config.num_layers if end is None else end, attention_only=False, reads=(), logits=True)


def _sample(scores: Array, rows: Array, key: Array, sampling: Sampling) -> Array:
    """A token for each of ``rows [b]`` by ``scores [b, V]``; draws depend on the row, not on who is beside it."""
    if sampling.temperature == 0.0:
        return scores.argmax(-1)
    scores = scores / sampling.temperature
    if sampling.top_p < 1.0:
        ordered = jnp.sort(scores, axis=-1, descending=True)
        before = jnp.cumsum(jax.nn.softmax(ordered, axis=-1), axis=-1) - jax.nn.softmax(ordered, axis=-1)
        # The likeliest token always stays: nothing stands before it.
        least = jnp.where(before < sampling.top_p, ordered, jnp.inf).min(-1, keepdims=True)
        scores = jnp.where(scores >= least, scores, -jnp.inf)
    return jax.vmap(jax.random.categorical)(jax.vmap(partial(jax.random.fold_in, key))(rows), scores)


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
    """The static width for a batch whose longest row has ``length`` tokens: at most a sixteenth more, in few steps."""
    step = max(8, 1 << max(0, length.bit_length() - 5))
    return min(-(-length // step) * step, limit)


def common_start(rows: Sequence[Sequence[int]]) -> int:
    """With how many tokens all rows begin alike."""
    least = min(map(len, rows))
    return next((k for k in range(least) if any(row[k] != rows[0][k] for row in rows)), least)


def shared_start(rows: Sequence[Sequence[int]]) -> int:
    """How many first tokens of all rows are worth computing once: a multiple of eight, so that few shapes are compiled.

    Every row keeps a token of its own; 0 for a single row.
    """
    return 0 if len(rows) < 2 else (common_start(rows) - 1) // 8 * 8
