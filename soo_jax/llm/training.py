"""The training step: a pure function of base weights, data and the state of one adapter, vmapped over S of them.

Shapes: S stacked adapters (members of a sweep), P pairs, B pairs in a micro-batch, T tokens, U updates in all.
"""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass, replace
from functools import partial
from typing import Any, NamedTuple

import chex
import jax
import jax.numpy as jnp
import optax
from jax import Array
from jax.sharding import Mesh

from soo_jax.adapters import Lora, LoraConfig, init_lora
from soo_jax.adapters.lora import in_common
from soo_jax.models.config import DecoderConfig
from soo_jax.models.decoder import Params, forward
from soo_jax.models.probes import Probe
from soo_jax.overlap import Objective, View
from soo_jax.overlap.views import OTHER, SELF, TEXT, inputs_of, is_base
from soo_jax.parallel import constrain_rows


@dataclass(frozen=True)
class Static:
    """Everything static about a training run; hashable, so one program serves all members of a sweep.

    Attributes:
      lora: a form with room for the adapters of all members. ranks: those that members have; empty: that of ``lora``.
      first: layers below it are run once, before training: see :class:`Fixed`.
    """

    model: DecoderConfig
    lora: LoraConfig
    objective: Objective
    updates: int
    batch_size: int
    accumulation: int
    weight_decay: float
    clip_norm: float
    warmup: int
    schedule: str
    ema: float
    remat: bool
    mesh: Mesh | None
    first: int = 0
    ranks: tuple[int, ...] = ()


class Tokens(NamedTuple):
    """Ids and mask of texts, each ``[N, T]``."""

    tokens: Array
    mask: Array


Inputs = Mapping[str, Tokens]
"""Texts by the name of their view: ``self`` and ``other`` of the same length, row by row partners, and ``text``."""
SERVED = (SELF, OTHER, TEXT)
"""The inputs that a language model can be trained on."""


class Fixed(NamedTuple):
    """What no update changes, computed once: what lies below all adapters, and what is read of the base.

    Attributes:
      streams: by inputs, the residual stream ``[N, T, D]`` that enters layer ``Static.first``; empty if that is 0.
      base: by view (``base:self``), what is read of the base, ``{probe: [N, T, D]}``; a view that would take too much
        room is not here and is read anew at every update.
    """

    streams: dict[str, Array]
    base: dict[str, dict[Probe, Array]]


class Batch(NamedTuple):
    """Inputs, and what is fixed of them, row by row."""

    inputs: Inputs
    fixed: Fixed = Fixed({}, {})


class Data(NamedTuple):
    """What one run trains on. ``base_norm``: Frobenius norm of all adapted projections of the base, unit of drift."""

    inputs: dict[str, Tokens]
    base_norm: Array
    fixed: Fixed = Fixed({}, {})


class Varied(NamedTuple):
    """What stacked members differ in, as arrays ``[S, ...]``.

    Attributes:
      key: its data. learning_rate: at its peak. weights: of terms, by name. rank: of the adapter.
      scale: of the adapter's update, beside that of the form that all have in common.
    """

    key: Array
    learning_rate: Array
    weights: dict[str, Array]
    rank: Array
    scale: Array


class MemberState(NamedTuple):
    """One member in training. ``frozen_at`` is the update that gave no finite gradient, else -1."""

    lora: Lora
    optimiser: Any
    average: Lora | None
    frozen_at: Array


class TrainState(NamedTuple):
    """``step`` updates done; ``members`` with leading axis S; ``history`` ``{metric: [U, S]}``, NaN where not yet."""

    step: Array
    members: MemberState
    history: dict[str, Array]


def optimiser(static: Static) -> optax.GradientTransformation:
    """AdamW without its learning rate, which differs between members."""
    parts = [optax.scale_by_adam(), optax.add_decayed_weights(static.weight_decay)]
    if static.clip_norm > 0:
        parts.insert(0, optax.clip_by_global_norm(static.clip_norm))
    return optax.chain(*parts)


def rate_factor(static: Static) -> optax.Schedule:
    """Factor on the peak learning rate by update."""
    rest = max(1, static.updates - static.warmup)
    after = {
        "constant": lambda: optax.constant_schedule(1.0),
        "linear": lambda: optax.linear_schedule(1.0, 0.0, rest),
        "cosine": lambda: optax.cosine_decay_schedule(1.0, rest),
    }[static.schedule]()
    if not static.warmup:
        return after
    return optax.join_schedules([optax.linear_schedule(0.0, 1.0, static.warmup), after], [static.warmup])


@partial(jax.jit, static_argnames="static")
def init_state(static: Static, members: Varied) -> TrainState:
    """Fresh adapters for all members, each drawn as it would be alone; its key is split off the member's."""
    ranks = static.ranks or (static.lora.rank,)

    def drawn(rank: int, key: Array) -> Lora:
        own = replace(static.lora, rank=rank)
        return in_common(init_lora(static.model, own, key), static.lora, static.model)

    def one(key_data: Array, rank: Array) -> MemberState:
        key = jax.random.fold_in(jax.random.wrap_key_data(key_data), 0)
        lora = jax.lax.switch(jnp.argmax(jnp.asarray(ranks) == rank), [partial(drawn, own) for own in ranks], key)
        average = jax.tree.map(jnp.zeros_like, lora) if static.ema else None
        return MemberState(lora, optimiser(static).init(lora), average, jnp.asarray(-1, jnp.int32))

    names = ("loss", *static.objective.names, "drift", "grad_norm")
    count = members.learning_rate.shape[0]
    history = {name: jnp.full((static.updates, count), jnp.nan) for name in names}
    return TrainState(jnp.asarray(0, jnp.int32), jax.vmap(one)(members.key, members.rank), history)


@partial(jax.jit, static_argnames="static", donate_argnames="state")
def train(static: Static, params: Params, data: Data, members: Varied, state: TrainState, count: Array) -> TrainState:
    """Runs ``count`` updates of all members on the device. ``count`` is traced: any number runs the same program."""

    def one(member: Varied, own: MemberState, step: Array) -> tuple[MemberState, dict[str, Array]]:
        return update(static, params, data, member, own, step)

    axis = "sweep" if static.mesh is not None else None
    every = jax.vmap(one, in_axes=(0, 0, None), spmd_axis_name=axis)

    def body(_: Array, state: TrainState) -> TrainState:
        stack, metrics = every(members, state.members, state.step)
        history = {name: state.history[name].at[state.step].set(value) for name, value in metrics.items()}
        return TrainState(state.step + 1, stack, history)

    return jax.lax.fori_loop(0, count, body, state)


def update(
    static: Static, params: Params, data: Data, member: Varied, state: MemberState, step: Array
) -> tuple[MemberState, dict[str, Array]]:
    """One optimiser update of one member: gradients of its micro-batches, averaged, and AdamW.

    A member whose loss or gradient is not finite stays as it was and is frozen from then on.
    """
    key = jax.random.wrap_key_data(member.key)

    def micro(index: Array) -> tuple[tuple[Array, dict[str, Array]], Lora]:
        batch = pick(static, data, key, index)
        dropout = jax.random.fold_in(jax.random.fold_in(key, 2), index)

        def loss(lora: Lora) -> tuple[Array, dict[str, Array]]:
            return static.objective(
                read_views(static, params, batch, lora.times(member.scale), dropout), member.weights
            )

        return jax.value_and_grad(loss, has_aux=True)(state.lora)

    first = step * static.accumulation
    (loss, metrics), grads = micro(first)
    if static.accumulation > 1:
        add = lambda total, i: (jax.tree.map(jnp.add, total, micro(first + i)), None)
        total, _ = jax.lax.scan(add, ((loss, metrics), grads), jnp.arange(1, static.accumulation))
        (loss, metrics), grads = jax.tree.map(lambda leaf: leaf / static.accumulation, total)

    changes, moments = optimiser(static).update(grads, state.optimiser, state.lora)
    rate = member.learning_rate * rate_factor(static)(step)
    lora = jax.tree.map(lambda leaf, change: leaf - rate * change, state.lora, changes)
    average = state.average
    if static.ema:
        average = jax.tree.map(lambda a, b: static.ema * a + (1 - static.ema) * b, average, lora)
    norm = optax.tree.norm(grads)
    healthy = jnp.isfinite(loss) & jnp.isfinite(norm)
    frozen_at = jnp.where((state.frozen_at < 0) & ~healthy, step, state.frozen_at)
    moved = MemberState(lora, moments, average, frozen_at)
    kept = state._replace(frozen_at=frozen_at)
    state = jax.tree.map(lambda new, old: jnp.where(frozen_at < 0, new, old), moved, kept)
    drift = update_norm(state.lora.times(member.scale)) / data.base_norm
    return state, {"loss": loss, **metrics, "drift": drift, "grad_norm": norm}


def pick(static: Static, data: Data, key: Array, index: Array) -> Batch:
    """Micro-batch number ``index``: every epoch its own permutation of the pairs, a function of key and index.

    Rows that only fill up the last batch of an epoch are masked out.
    """
    pairs, size = data.inputs[SELF].tokens.shape[0], static.batch_size
    per_epoch = -(-pairs // size)
    order = jax.random.permutation(jax.random.fold_in(jax.random.fold_in(key, 1), index // per_epoch), pairs)
    order = jnp.concatenate([order, jnp.full(per_epoch * size - pairs, -1, order.dtype)])
    rows = jax.lax.dynamic_slice_in_dim(order, index % per_epoch * size, size)
    valid = (rows >= 0)[:, None]
    of = dict.fromkeys((SELF, OTHER), jnp.maximum(rows, 0))
    batch = {}
    for name, own in data.inputs.items():
        if name == TEXT:
            chosen = jax.random.fold_in(jax.random.fold_in(key, 3), index)
            of[name] = jax.random.randint(chosen, (size,), 0, own.tokens.shape[0])
        mask = own.mask[of[name]]
        batch[name] = Tokens(own.tokens[of[name]], mask if name == TEXT else mask & valid)
    streams = {name: x[of[name]] for name, x in data.fixed.streams.items()}
    base = {
        name: {probe: jnp.take(x, of[inputs_of(name)], axis=x.ndim - 3) for probe, x in read.items()}
        for name, read in data.fixed.base.items()
    }
    return Batch(batch, Fixed(streams, base))


def read_views(static: Static, params: Params, batch: Batch, lora: Lora, dropout_key: Array | None) -> dict[str, View]:
    """Runs the model on all inputs as far as the objective reads it: every view that some term asks for, by name.

    Both sides go through one pass, unless the objective holds one of them still: then that side needs no backward
    pass and runs by itself.
    """
    reads, still = static.objective.reads, static.objective.still
    inputs, (streams, base) = batch
    run = partial(_read, static, params)
    views = {}
    if {SELF, OTHER} <= set(reads) and reads[SELF] == reads[OTHER] and not still:
        tokens, mask = (jnp.concatenate(parts) for parts in zip(inputs[SELF], inputs[OTHER], strict=True))
        stream = jnp.concatenate([streams[SELF], streams[OTHER]]) if streams else None
        both = run(Tokens(tokens, mask), stream, reads[SELF], lora, dropout_key)
        half = tokens.shape[0] // 2
        cut = lambda rows: {probe: jax.lax.slice_in_dim(x, *rows, axis=x.ndim - 3) for probe, x in both.items()}
        for name, rows in ((SELF, (0, half)), (OTHER, (half, 2 * half))):
            views[name] = View(cut(rows), inputs[name].mask, inputs[name].tokens)
    for name, probes in reads.items():
        if name in views:
            continue
        texts = inputs[inputs_of(name)]
        if name in base:
            views[name] = View(base[name], texts.mask, texts.tokens)
            continue
        own, key = None, None
        if not is_base(name):
            own = jax.lax.stop_gradient(lora) if name in still else lora
            key = None if dropout_key is None else jax.random.fold_in(dropout_key, SERVED.index(name))
        read = run(texts, streams.get(inputs_of(name)), probes, own, key)
        views[name] = View(read, texts.mask, texts.tokens)
    return views


def _read(
    static: Static,
    params: Params,
    texts: Tokens,
    stream: Array | None,
    probes: tuple[Any, ...],
    lora: Lora | None,
    dropout_key: Array | None,
) -> Mapping[Any, Array]:
    chex.assert_rank(texts.tokens, 2)
    chex.assert_equal_shape(texts)
    tokens, mask = (constrain_rows(x, static.mesh) for x in texts)
    return forward(
        static.model,
        params,
        tokens,
        mask,
        probes,
        adapters=lora,
        dropout_key=dropout_key if lora is not None and static.lora.dropout > 0 else None,
        remat=static.remat,
        first=0 if stream is None else static.first,
        entering=None if stream is None else constrain_rows(stream, static.mesh),
    )


def update_norm(lora: Lora) -> Array:
    """Frobenius norm of all weight updates ``scale * A B`` together, without forming them."""
    total = jnp.asarray(0.0)
    for target in lora.config.targets:
        a, b = lora.a[target].astype(jnp.float32), lora.b[target].astype(jnp.float32)
        total += jnp.sum(jnp.einsum("nir,nis->nrs", a, a) * jnp.einsum("nro,nso->nrs", b, b))
    return lora.config.scale * jnp.sqrt(jnp.maximum(total, 0.0))


def final_adapters(static: Static, state: TrainState) -> Lora:
    """The trained adapters, without scales of their own.

    They are the last ones, or their bias-corrected average where the static asks for it.
    """
    if not static.ema:
        return state.members.lora
    # A frozen member's average stopped with it; the correction uses the updates that it took part in.
    taken = jnp.where(state.members.frozen_at >= 0, state.members.frozen_at, state.step)
    weight = 1.0 - static.ema ** taken.astype(jnp.float32)

    def corrected(leaf: Array, last: Array) -> Array:
        own = weight.reshape(-1, *(1,) * (leaf.ndim - 1))
        return jnp.where(own > 0, leaf / jnp.maximum(own, 1e-12), last)

    return jax.tree.map(corrected, state.members.average, state.members.lora)
