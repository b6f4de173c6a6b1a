"""The decoder as pure functions over stacked layers: one compiled layer body, whatever the depth.

Parameters are ``{"embedding": {...}, "layers": {...}}``; every leaf under ``layers`` has a leading axis L. A pass
that stops early indexes that axis inside the scan, so no copy of a part of the weights is ever made.
"""

from __future__ import annotations

from collections.abc import Mapping
from functools import cache, partial
from typing import Any, NamedTuple, Protocol

import flax.linen as nn
import jax
import jax.numpy as jnp
from jax import Array

from soo_jax.errors import SooError
from soo_jax.models.config import GLOBAL, PROJECTIONS, DecoderConfig
from soo_jax.models.layers import Block, Embedding, rotary_table
from soo_jax.models.probes import Pass, Probe, cheapest_pass, logits

Params = Mapping[str, Any]


class Adapters(Protocol):
    """What a forward pass asks of adapters; ``soo_jax.adapters`` has the implementation."""

    def per_layer(self, num_layers: int) -> Any:
        """A pytree whose leaves have a leading axis L."""

    def delta(self, target: str, state: Any, x: Array, dropout_key: Array | None) -> Array | None:
        """What is added to projection ``target`` of a layer for its input ``x``; None for nothing."""


class Cache(NamedTuple):
    """Keys and values of all layers, each ``[L, B, K, S, head_dim]``."""

    k: Array
    v: Array


def init_params(config: DecoderConfig, key: Array, dtype: Any = jnp.float32) -> Params:
    """Random parameters, mainly for tests, benchmarks and training from scratch."""
    return jax.tree.map(lambda x: x.astype(dtype), nn.meta.unbox(_init(config, key)))


def logical_axes(config: DecoderConfig) -> Params:
    """The tree of parameters with, in place of each array, the tuple of its logical axis names."""
    boxed = jax.eval_shape(lambda key: _init(config, key), jax.random.key(0))
    is_box = lambda x: isinstance(x, nn.meta.AxisMetadata)
    names = jax.tree.map(lambda box: tuple(box.names), boxed, is_leaf=is_box)
    stacked = jax.tree.map(lambda n: ("layers", *n), names["layers"], is_leaf=lambda x: isinstance(x, tuple))
    return {"embedding": names["embedding"], "layers": stacked}


@cache
def param_shapes(config: DecoderConfig) -> Params:
    """The tree of parameters as ``jax.ShapeDtypeStruct`` (float32); not to be changed."""
    return jax.eval_shape(lambda key: nn.meta.unbox(_init(config, key)), jax.random.key(0))


def _init(config: DecoderConfig, key: Array) -> Params:
    one, layers = jax.random.split(key)
    x, positions = jnp.zeros((1, 1, config.width)), jnp.zeros((1, 1), jnp.int32)
    table = rotary_table(config.rope, config.head_dim, positions)
    allowed = jnp.ones((1, 1, 1), bool)
    block = lambda k: Block(config).init(k, x, table, allowed)["params"]
    return {
        "embedding": Embedding(config).init(one, positions)["params"],
        "layers": jax.vmap(block)(jax.random.split(layers, config.num_layers)),
    }


@partial(jax.jit, static_argnames=("config", "probes", "remat", "first"))
def forward(
    config: DecoderConfig,
    params: Params,
    tokens: Array,
    mask: Array,
    probes: tuple[Probe, ...] = (logits(),),
    *,
    positions: Array | None = None,
    attend: Array | None = None,
    adapters: Adapters | None = None,
    dropout_key: Array | None = None,
    remat: bool = False,
    first: int = 0,
    entering: Array | None = None,
) -> dict[Probe, Array]:
    """Runs the decoder as far as the deepest probe and returns what the probes read. Jitted.

    Args:
      tokens: ``[B, T]`` ids. mask: ``[B, T]`` bool, True where there is text; padding may stand on either side.
      probes: what to read; each is a key of the result.
      positions: ``[B, T]`` rotary positions; by default each row counts its own text from 0.
      attend: ``[B, T, T]`` bool, True where a query (axis 1) may see a key (axis 2); by default everything
        before it in the row that is text. Sliding windows apply on top.
      adapters: added to the projections. dropout_key: turns adapter dropout on.
      remat: recompute layers in the backward pass instead of storing their insides.
      first, entering: begin at layer ``first`` with the residual stream ``[B, T, D]`` that enters it, as
        ``residual(first - 1)`` reads it, in place of the embedded tokens. No probe may lie below.

    Returns:
      ``{probe: array}``, shapes as in :class:`~soo_jax.models.probes.Probe`.

    Raises:
      SooError: a probe names a layer or a site that the model does not have.
    """
    todo = cheapest_pass(probes, config.num_layers)
    lowest = min((layers[0] for _, layers in todo.reads), default=config.num_layers)
    if first > lowest:
        raise SooError(f"a pass that begins at layer {first} cannot read layer {lowest}")
    if positions is None:
        positions = text_positions(mask)
    if attend is None:
        order = jnp.arange(tokens.shape[1])
        attend = (order[:, None] >= order) & mask[:, None, :]
    x = entering if first else Embedding(config).apply({"params": params["embedding"]}, tokens, method="embed")
    x, read, last_attention, _ = run_layers(
        config, params["layers"], x, positions, positions, attend, todo, adapters, dropout_key, remat, first=first
    )
    result = {}
    for probe in probes:
        if probe.site == "logits":
            result[probe] = unembed(config, params, x)
            continue
        layers = probe.layers(config.num_layers)
        index = dict(todo.reads)[probe.site].index
        pick = lambda layer, site=probe.site, index=index: (
            last_attention
            if todo.attention_only and site == "attn_out" and layer == todo.depth
            else read[site][index(layer)]
        )
        rows = [pick(layer) for layer in layers]
        result[probe] = rows[0] if isinstance(probe.layer, int) else jnp.stack(rows)
    return result


def text_positions(mask: Array) -> Array:
    """Rotary positions ``[B, T]`` that count the text of each row from 0, wherever its padding stands."""
    return jnp.maximum(jnp.cumsum(mask, axis=1) - 1, 0)


def unembed(config: DecoderConfig, params: Params, x: Array) -> Array:
    """Logits ``[..., V]`` (float32) of the residual stream ``[..., D]`` of the last layer."""
    return Embedding(config).apply({"params": params["embedding"]}, x, method="unembed")


def run_layers(
    config: DecoderConfig,
    layers: Params,
    x: Array,
    query_positions: Array,
    key_positions: Array,
    attend: Array,
    todo: Pass,
    adapters: Adapters | None = None,
    dropout_key: Array | None = None,
    remat: bool = False,
    cache: Cache | None = None,
    cache_slot: Array | int | None = 0,
    first: int = 0,
) -> tuple[Array, dict[str, Array], Array | None, Cache | None]:
    """Scans the residual stream ``x [B, T, D]`` through the layers from ``first`` on that ``todo`` asks for.

    Args:
      cache: keys and values of what stands before. cache_slot: where those of this pass are written into it; None
        leaves the cache as it is, and this pass sees its own keys behind those of the cache.

    Returns:
      The stream, what was read (``{site: [layers read, B, T, D]}``, without the attention output of a last
      half-layer), that attention output or None, and the cache, extended from ``cache_slot`` on, or None.
    """
    block = Block(config)
    ropes = config.layer_ropes or (config.rope,) * config.num_layers
    kinds = tuple(dict.fromkeys(ropes))
    tables = [rotary_table(rope, config.head_dim, query_positions) for rope in kinds]
    table_of = jnp.asarray([kinds.index(rope) for rope in ropes])
    distance = query_positions[:, :, None] - key_positions[:, None, :]
    windowed = min(config.windows) < GLOBAL
    windows = jnp.asarray(config.windows)
    states = adapters.per_layer(config.num_layers) if adapters is not None else None
    keys = None if dropout_key is None else jax.random.split(dropout_key, config.num_layers)

    def bound(weights, i, state, key):
        """Layer ``i`` as two functions of arrays."""
        allowed = attend & (distance < windows[i]) if windowed else attend
        table = tables[0]
        if len(tables) > 1:
            table = tuple(jnp.stack(parts)[table_of[i]] for parts in zip(*tables, strict=True))
        # One key per projection, so that no two of them drop the same entries.
        own = None if key is None else (lambda target: jax.random.fold_in(key, PROJECTIONS.index(target)))
        delta = None
        if adapters is not None:
            delta = lambda target, h: adapters.delta(target, state, h, own and own(target))
        scope = {"params": weights}
        half = lambda x, extend=None: block.apply(scope, x, table, allowed, delta, extend, method="attend")
        rest = lambda x, a: block.apply(scope, x, a, delta, method="finish")
        return half, rest

    def body(carry, inputs):
        x, read, cache = carry
        i, weights, state, key = inputs
        if weights is None:
            weights = _layer(layers, i)
        half, rest = bound(weights, i, state, key)
        extend = None
        if cache is not None:

            def extend(k, v):
                nonlocal cache
                if cache_slot is None:
                    behind = lambda kept, own: jnp.concatenate([_layer(kept, i), own.astype(kept.dtype)], axis=2)
                    return behind(cache.k, k), behind(cache.v, v)
                at = (i, 0, 0, cache_slot, 0)
                cache = cache._replace(
                    k=jax.lax.dynamic_update_slice(cache.k, k[None].astype(cache.k.dtype), at),
                    v=jax.lax.dynamic_update_slice(cache.v, v[None].astype(cache.v.dtype), at),
                )
                return _layer(cache.k, i), _layer(cache.v, i)

        attn_out = half(x, extend)
        x, mlp_out = rest(x, attn_out)
        here = {"attn_out": attn_out, "mlp_out": mlp_out, "residual": x}
        read = {
            site: jax.lax.dynamic_update_index_in_dim(buffer, here[site], slots[site][i], 0)
            for site, buffer in read.items()
        }
        return (x, read, cache), None

    # A layer that is not read writes to one spare row behind the rows that are.
    scanned_reads = {
        site: tuple(layer for layer in read if not (todo.attention_only and layer == todo.depth))
        for site, read in todo.reads
    }
    slots = {
        site: jnp.asarray([rows.index(i) if i in rows else len(rows) for i in range(config.num_layers)])
        for site, rows in scanned_reads.items()
    }
    read = {site: jnp.zeros((len(rows) + 1, *x.shape), x.dtype) for site, rows in scanned_reads.items() if rows}
    whole = first == 0 and todo.depth == config.num_layers
    head = lambda tree: jax.tree.map(lambda leaf: leaf[first : todo.depth], tree)
    if todo.depth > first:
        inputs = (jnp.arange(first, todo.depth), layers if whole else None, head(states), head(keys))
        step = jax.checkpoint(body, prevent_cse=False, policy=None if remat else _products)
        (x, read, cache), _ = jax.lax.scan(step, (x, read, cache), inputs)
    last_attention = None
    if todo.attention_only:
        i = todo.depth
        at = lambda tree: jax.tree.map(lambda leaf: leaf[i], tree)
        half, _ = bound(_layer(layers, i), i, at(states), at(keys))
        last_attention = half(x)
    return x, read, last_attention, cache


def _products(primitive: Any, *_: Any, **__: Any) -> bool:
    """What the backward pass keeps of a layer: the matrix products. What lies between them costs less to compute again
    than to keep, and weights are taken from the stack again: kept, they would be a copy of all layers."""
    return primitive.name == "dot_general"


def _layer(tree: Any, i: Array | int) -> Any:
    return jax.tree.map(lambda leaf: jax.lax.dynamic_index_in_dim(leaf, i, 0, keepdims=False), tree)
