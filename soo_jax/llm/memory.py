"""What fine-tuning and answering hold in memory and compute, from a model's config alone.

The very programs that run are traced on shapes: parameters, adapters and their optimiser, what the backward pass keeps,
what is computed once, and the caches of keys and values are counted, not estimated. What the compiler needs on top is
put at a few of the largest arrays in between.
"""

from __future__ import annotations

import math
from collections import Counter
from collections.abc import Mapping
from dataclasses import dataclass, replace
from functools import partial
from typing import Any

import jax
import jax.numpy as jnp

from soo_jax.adapters import LoraConfig, init_lora
from soo_jax.llm.chips import USABLE
from soo_jax.llm.config import FinetuneConfig, build_objective, resolve_layer
from soo_jax.llm.finetune import make_static
from soo_jax.llm.fixed import SHARE, choose_fixed
from soo_jax.llm.traced import Cost, cost, kept_for_backward, size_of
from soo_jax.llm.training import Batch, Data, Fixed, Tokens, Varied, init_state, pick, read_views, update
from soo_jax.machine import free_bytes
from soo_jax.models import weights
from soo_jax.models.config import PROJECTIONS, DecoderConfig
from soo_jax.models.decoder import Params, forward, param_shapes
from soo_jax.models.formats import DTYPES
from soo_jax.models.lm import LM
from soo_jax.models.loading import parse_dtype
from soo_jax.models.probes import cheapest_pass, logits, residual
from soo_jax.overlap.views import OTHER, SELF, TEXT, inputs_of

BETWEEN = 3
"""How many of the largest arrays in between are alive at once, beside what is counted."""


@dataclass(frozen=True)
class Footprint:
    """Bytes over all devices together, and products.

    Attributes:
      weights: the base. adapters: adapters, with their optimiser, gradients and the next state while they are trained.
      rows: what grows with the texts at work: kept for the backward pass and computed once, or keys and values.
      between: what else is alive at once. flops: of one update of all members, or of one batch of answers.
      passes: how often all weights are read for that; less than one where only some layers are passed through.
    """

    weights: int
    adapters: int
    rows: int
    between: int
    flops: float
    passes: float

    @property
    def total(self) -> int:
        """All of it."""
        return self.weights + self.adapters + self.rows + self.between


@dataclass(frozen=True)
class Texts:
    """How long the texts of a job are: tokens of a pair's longer side, of a prompt, and of an answer."""

    pair: int = 48
    prompt: int = 160
    answer: int = 32


def parameters(config: DecoderConfig) -> int:
    """How many weights a model of this config has; norms and biases, a fraction of a per mille, are left out."""
    layer = sum(wide * out for wide, out in map(config.projection_shape, PROJECTIONS))
    embeddings = config.vocab_size * config.width * (1 if config.tie_embeddings else 2)
    return config.num_layers * layer + embeddings


def abstract_params(config: DecoderConfig, dtype: str = "bfloat16") -> Params:
    """Shapes of the parameters as they are held: ``bfloat16``, ``nf4``, ``int8:float32``, ...

    What is not named (``auto``, ``stored``) is bfloat16, as models are published.
    """
    scheme, rest = parse_dtype(dtype)
    target = DTYPES.get(rest, jnp.bfloat16)
    wide = jax.tree.map(lambda leaf: jax.ShapeDtypeStruct(leaf.shape, target), param_shapes(config))
    return wide if scheme is None else jax.eval_shape(partial(weights.quantise, name=scheme), wide)


def room_on_device(lm: LM) -> float:
    """Bytes of each device that a program gets, the weights of the model included, which are there already."""
    told = next(iter(jax.tree.leaves(lm.params)[0].devices())).memory_stats() or {}
    if "bytes_limit" in told:
        return USABLE * told["bytes_limit"]
    count = 1 if lm.mesh is None else lm.mesh.size
    return (USABLE * free_bytes() + size_of(lm.params)) / count


def finetuning(
    model: DecoderConfig, config: FinetuneConfig, dtype: str = "bfloat16", pairs: int = 52, texts: Texts = Texts()
) -> Footprint:
    """One fine-tuning of all members of a config (seeds times rates).

    Raises:
      SooError: a layer that the model does not have.
    """
    params = abstract_params(model, dtype)
    config = resolve_layer(config, model.num_layers)
    objective = build_objective(config)
    static = make_static(model, pairs, config, objective)
    members = len(config.seeds) * len(config.rates)
    length = config.pad_to or texts.pair
    names = [SELF, OTHER, *([TEXT] if TEXT in map(inputs_of, objective.reads) else [])]
    ids = Tokens(_of((pairs, length), jnp.int32), _of((pairs, length), bool))
    inputs = dict.fromkeys(names, ids)
    wanted = choose_fixed(params, static, {name: (pairs, length) for name in names}, SHARE * size_of(params))
    static = replace(static, first=wanted.first)
    read_once = lambda probes: jax.eval_shape(partial(_read, model, probes), params, ids)
    enters = residual(wanted.first - 1)
    fixed = Fixed(
        {name: read_once((enters,))[enters] for name in names} if wanted.first else {},
        {name: read_once(objective.reads[name]) for name in wanted.kept},
    )
    data = Data(inputs, _of((), jnp.float32), fixed)
    number = _of((members,), jnp.float32)
    factors = dict.fromkeys(objective.names, number)
    varied = Varied(_of((members, 2), jnp.uint32), number, factors, _of((members,), jnp.int32), number)
    state = jax.eval_shape(partial(init_state, static), varied)
    one = lambda tree: jax.tree.map(lambda leaf: _of(leaf.shape[1:], leaf.dtype), tree)
    lora, member = one(state.members.lora), one(varied)

    def loss(lora: Any, params: Params, batch: Batch) -> jax.Array:
        key = jax.random.key(0)
        return objective(read_views(static, params, batch, lora, key), None)[0]

    batch = jax.eval_shape(
        lambda data, key: pick(static, data, jax.random.wrap_key_data(key), jnp.asarray(0)), data, member.key
    )
    kept = _beyond(kept_for_backward(loss, lora, params, batch), (params, lora))
    if config.remat:  # while it goes back through a layer, it keeps the products of that one
        whole = finetuning(model, replace(config, remat=False), dtype, pairs, texts).rows
        kept += (whole - size_of(data)) // members // model.num_layers
    step = cost(partial(update, static), params, data, member, one(state.members), _of((), jnp.int32))
    read = [cheapest_pass(probes, model.num_layers) for probes in objective.reads.values()]
    spanned = max(one.depth + one.attention_only for one in read) - static.first
    return Footprint(
        weights=size_of(params),
        adapters=2 * size_of(state.members) + size_of(state.members.lora),
        rows=size_of(data) + members * kept,
        between=BETWEEN * members * step.largest,
        flops=members * step.flops,
        passes=(3 if config.remat else 2) * spanned / model.num_layers,
    )


def answering(
    model: DecoderConfig,
    lora: LoraConfig | None,
    dtype: str = "bfloat16",
    members: int = 1,
    batch: int = 128,
    texts: Texts = Texts(),
) -> Footprint:
    """One batch of prompts answered by all members of a stack of adapters, or by the base."""
    params = abstract_params(model, dtype)
    own = None if lora is None else jax.eval_shape(partial(init_lora, model, lora), jax.random.key(0))
    ids = Tokens(_of((batch, texts.prompt), jnp.int32), _of((batch, texts.prompt), bool))
    last = Tokens(_of((batch, 1), jnp.int32), _of((batch, 1), bool))
    prefill: Cost = cost(partial(_read, model, (residual(model.num_layers - 1),)), params, ids, own)
    step: Cost = cost(partial(_read, model, (logits(),)), params, last, own)
    slots = texts.prompt + texts.answer
    heads = model.num_layers * model.num_kv_heads * model.head_dim
    cache = 2 * heads * batch * slots * params["embedding"]["embedding"].dtype.itemsize
    return Footprint(
        weights=size_of(params),
        adapters=size_of(own) * members,
        rows=cache * members,
        between=BETWEEN * members * max(prefill.largest, step.largest),
        flops=members * (prefill.flops + texts.answer * step.flops),
        passes=1.0 + texts.answer,
    )


def _read(model: DecoderConfig, probes: Any, params: Params, texts: Tokens, lora: Any = None) -> Mapping[Any, Any]:
    return forward(model, params, *texts, tuple(probes), adapters=lora)


def _of(shape: tuple[int, ...], dtype: Any) -> jax.ShapeDtypeStruct:
    return jax.ShapeDtypeStruct(shape, dtype)


def _beyond(leaves: list[jax.ShapeDtypeStruct], there: Any) -> int:
    """Bytes of the leaves that are no copies of what is there anyway."""
    have = Counter((leaf.shape, leaf.dtype) for leaf in jax.tree.leaves(there))
    total = 0
    for leaf in leaves:
        if have[leaf.shape, leaf.dtype]:
            have[leaf.shape, leaf.dtype] -= 1
        else:
            total += math.prod(leaf.shape) * leaf.dtype.itemsize
    return total
