"""What no update of a fine-tuning changes, computed once before it begins.

Below the lowest adapted layer nothing changes, and neither does what is read of the base. So an adapter in one layer
costs no more than that layer and those above it up to where the loss reads.
"""

from __future__ import annotations

from collections.abc import Iterable, Mapping
from dataclasses import replace
from functools import partial
from typing import Any, NamedTuple

import jax
import jax.numpy as jnp
import numpy as np

from soo_jax.distributed import whole
from soo_jax.llm.training import Data, Fixed, Inputs, Static
from soo_jax.models import weights
from soo_jax.models.config import DecoderConfig
from soo_jax.models.decoder import Params, forward
from soo_jax.models.lm import LM
from soo_jax.models.probes import Probe, cheapest_pass, residual
from soo_jax.overlap.views import inputs_of, is_base

ROWS = 8
"""Texts in one device call."""
SHARE = 0.5
"""What is kept takes no more than this share of the bytes that the base takes on a device."""


def make_data(lm: LM, static: Static, inputs: Inputs) -> tuple[Static, Data]:
    """The inputs on the device, with what no update changes and the unit of drift; and the static that uses them."""
    norm = sum(weights.squared_norm(lm.params["layers"][target]["kernel"]) for target in static.lora.targets)
    first, fixed = compute_fixed(lm, static, inputs)
    return replace(static, first=first), jax.tree.map(jnp.asarray, Data(dict(inputs), jnp.sqrt(norm), fixed))


class Wanted(NamedTuple):
    """What is to be computed once.

    Attributes:
      first: the layer at which passes may begin; 0 where no stream is kept.
      kept: the views of the base whose readings are kept. reads: by inputs, all that is to be read of them.
    """

    first: int
    kept: tuple[str, ...]
    reads: dict[str, set[Probe]]


def choose_fixed(params: Params, static: Static, shapes: Mapping[str, tuple[int, ...]], room: float) -> Wanted:
    """What is worth computing once, for parameters (or their shapes) and inputs of shapes ``[N, T]``.

    What would take more than ``room`` bytes is left out: first readings of the base, the larger ones before the
    smaller, then the streams.
    """
    reads = static.objective.reads
    plans = [cheapest_pass(probes, static.model.num_layers) for probes in reads.values()]
    lowest = min((layers[0] for one in plans for _, layers in one.reads), default=static.model.num_layers - 1)
    first = min(static.lora.lowest_layer, lowest)
    enters = residual(first - 1)
    size = partial(_size, static.model, params)
    wanted: dict[str, set[Probe]] = {name: set() for name in shapes}
    if first and (streams := sum(size(shape, [enters]) for shape in shapes.values())) <= room:
        room -= streams
        wanted = {name: {enters} for name in shapes}
    else:
        first = 0
    kept = []
    sizes = {name: size(shapes[inputs_of(name)], reads[name]) for name in reads if is_base(name)}
    for name in sorted(sizes, key=sizes.__getitem__):
        if sizes[name] <= room:
            room -= sizes[name]
            kept.append(name)
            wanted[inputs_of(name)] |= set(reads[name])
    return Wanted(first, tuple(kept), wanted)


def compute_fixed(lm: LM, static: Static, inputs: Inputs) -> tuple[int, Fixed]:
    """The layer at which passes may begin, with the streams that enter it, and the readings of the base."""
    room = SHARE * sum(_on_a_device(leaf) for leaf in jax.tree.leaves(lm.params))
    first, kept, wanted = choose_fixed(
        lm.params, static, {name: own.tokens.shape for name, own in inputs.items()}, room
    )
    found = {name: _read(lm, *inputs[name], tuple(sorted(probes))) for name, probes in wanted.items() if probes}
    enters = residual(first - 1)
    streams = {name: found[name][enters] for name in inputs} if first else {}
    reads = static.objective.reads
    return first, Fixed(streams, {name: {p: found[inputs_of(name)][p] for p in reads[name]} for name in kept})


def _on_a_device(leaf: Any) -> int:
    return leaf.addressable_shards[0].data.nbytes if isinstance(leaf, jax.Array) else leaf.nbytes


def _size(config: DecoderConfig, params: Params, shape: tuple[int, ...], probes: Iterable[Probe]) -> int:
    """Bytes of what probes read on tokens ``[N, T]``."""
    of = lambda rows: jax.ShapeDtypeStruct((rows, shape[1]), np.int32)
    mask = jax.ShapeDtypeStruct((1, shape[1]), bool)
    read = jax.eval_shape(lambda p, t, m: forward(config, p, t, m, tuple(probes)), params, of(1), mask)
    return shape[0] * sum(leaf.size * leaf.dtype.itemsize for leaf in read.values())


def _read(lm: LM, tokens: Any, mask: Any, probes: tuple[Probe, ...]) -> dict[Probe, np.ndarray]:
    """What probes read of the base on all rows, on the host."""
    tokens, mask = np.asarray(tokens), np.asarray(mask)
    size = min(ROWS, len(tokens))
    parts: list[dict[Probe, np.ndarray]] = []
    for start in range(0, len(tokens), size):
        start = min(start, len(tokens) - size)  # the last batch is as large as the others
        read = forward(lm.config, lm.params, tokens[start : start + size], mask[start : start + size], probes)
        parts.append({probe: whole(value) for probe, value in read.items()})
    fresh = len(tokens) - (len(parts) - 1) * size
    join = lambda probe: np.concatenate(
        [part[probe] for part in parts[:-1]]
        + [np.take(parts[-1][probe], range(size - fresh, size), axis=parts[-1][probe].ndim - 3)],
        axis=parts[-1][probe].ndim - 3,
    )
    return {probe: join(probe) for probe in probes}
