"""What it costs a CPU to take each layer's weights out of the stack of all layers, token by token.

    python -m scripts.bench_decode --model smollm2

Two programs answer with the same weights: `stack` goes through the layers in a scan, as the library does; `apart` has
them written out one after the other, each with weights that are a piece of the stack's own memory, so that no second
copy is held. Prints for each number of rows: seconds of a token, on the clock and of CPU time, which other programs
disturb less (medians of rounds in which both take turns); seconds of compilation; and how many kernels the compiled
program cuts out of a stack.
"""

from __future__ import annotations

import argparse
import re
import statistics
import sys
import time
from collections.abc import Callable, Sequence
from dataclasses import replace
from functools import partial
from typing import Any

import jax
import jax.numpy as jnp
import numpy as np
from jax import Array

import soo_jax as soo
from scripts.studies.tables import table
from soo_jax.errors import SooError
from soo_jax.models.config import PROJECTIONS, DecoderConfig
from soo_jax.models.decoder import Cache, Params, run_layers, unembed
from soo_jax.models.layers import Embedding
from soo_jax.models.probes import cheapest_pass, logits

Part = tuple[DecoderConfig, Params]
"""Some layers in a row: a config of so many, and their weights, each with a leading axis."""


def one_by_one(config: DecoderConfig, layers: Params) -> list[Part]:
    """Each layer by itself, in the memory of the stack, which must lie on a CPU."""
    host = jax.tree.map(np.asarray, layers)
    ropes = lambda i: config.layer_ropes and config.layer_ropes[i : i + 1]
    return [
        (
            replace(config, num_layers=1, windows=config.windows[i : i + 1], layer_ropes=ropes(i)),
            jax.tree.map(lambda leaf, i=i: jax.device_put(leaf[i : i + 1]), host),
        )
        for i in range(config.num_layers)
    ]


@partial(jax.jit, static_argnames=("config", "configs", "count"))
def answer(
    config: DecoderConfig, configs: tuple[DecoderConfig, ...], layers: list[Params], params: Params, first: Array,
    count: int,
) -> Array:  # fmt: skip
    """The greedy tokens ``[B, count]`` that follow ``first [B]``."""
    rows = first.shape[0]

    def empty(own: DecoderConfig) -> Cache:
        zeros = jnp.zeros((own.num_layers, rows, own.num_kv_heads, count, own.head_dim))
        return Cache(zeros, zeros)

    def body(slot: Array, state: tuple[list[Cache], Array, Array]) -> tuple[list[Cache], Array, Array]:
        caches, token, out = state
        x = Embedding(config).apply({"params": params["embedding"]}, token[:, None], method="embed")
        keys = jnp.broadcast_to(jnp.arange(count), (rows, count))
        attend = jnp.broadcast_to(jnp.arange(count) <= slot, (rows, 1, count))
        kept = []
        for own, weights, cache in zip(configs, layers, caches, strict=True):
            todo = cheapest_pass((logits(),), own.num_layers)
            at = jnp.broadcast_to(slot, (rows, 1))
            x, _, _, cache = run_layers(own, weights, x, at, keys, attend, todo, cache=cache, cache_slot=slot)
            kept.append(cache)
        token = unembed(config, params, x[:, -1]).argmax(-1).astype(jnp.int32)
        return kept, token, out.at[:, slot].set(token)

    start = ([empty(own) for own in configs], first, jnp.zeros((rows, count), jnp.int32))
    return jax.lax.fori_loop(0, count, body, start)[2]


def measure(lm: soo.LM, rows: int, count: int, rounds: int) -> list[list[Any]]:
    """A line of the table for each way."""
    params = {"embedding": lm.params["embedding"]}
    first = jnp.asarray(np.random.default_rng(0).integers(0, lm.config.vocab_size, rows), jnp.int32)
    ways = {"stack": [(lm.config, lm.params["layers"])], "apart": one_by_one(lm.config, lm.params["layers"])}
    runs: dict[str, Callable[[], Array]] = {}
    told: dict[str, list[Any]] = {}
    for name, parts in ways.items():
        configs, layers = tuple(one for one, _ in parts), [one for _, one in parts]
        begun = time.perf_counter()
        program = answer.lower(lm.config, configs, layers, params, first, count).compile()
        told[name] = [time.perf_counter() - begun, cut_out(program.as_text(), lm.config)]
        runs[name] = partial(program, layers, params, first)
    same = [np.asarray(run()) for run in runs.values()]
    agree = float(np.mean(same[0] == same[1]))
    wall: dict[str, list[float]] = {name: [] for name in runs}
    busy: dict[str, list[float]] = {name: [] for name in runs}
    for _ in range(rounds):
        for name, run in runs.items():
            begun, used = time.perf_counter(), time.process_time()
            run().block_until_ready()
            wall[name].append((time.perf_counter() - begun) / count)
            busy[name].append((time.process_time() - used) / count)
    middle = statistics.median
    return [
        [rows, name, f"{middle(wall[name]):.4f}", f"{middle(busy[name]):.4f}", f"{told[name][0]:.1f}", told[name][1],
         f"{100 * agree:.0f} %"]
        for name in runs
    ]  # fmt: skip


def cut_out(program: str, config: DecoderConfig) -> int:
    """How many kernels a compiled program takes out of a stack as it runs."""
    shapes = {f"1,{wide},{out}" for wide, out in map(config.projection_shape, PROJECTIONS)}
    return sum(shape in shapes for shape in re.findall(r"= \w+\[([0-9,]+)\]\S* dynamic-slice\(", program))


HEAD = ("rows", "layers", "s a token", "CPU s a token", "compilation, s", "kernels cut out", "same tokens")


def main(arguments: Sequence[str]) -> int:
    """Measures and prints; returns the exit code."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--model", default="smollm2", help="as of soo eval")
    parser.add_argument("--rows", type=_count, nargs="+", default=[8, 32, 80], help="answers at once")
    parser.add_argument("--tokens", type=_count, default=32)
    parser.add_argument("--rounds", type=_count, default=5)
    options = parser.parse_args(arguments)
    if jax.default_backend() != "cpu":
        print("this is about CPUs: set JAX_PLATFORMS=cpu", file=sys.stderr)
        return 2
    try:
        lm = soo.load(options.model, "float32")
    except SooError as error:
        print(error, file=sys.stderr)
        return 2
    print(table(HEAD, [line for rows in options.rows for line in measure(lm, rows, options.tokens, options.rounds)]))
    return 0


def _count(text: str) -> int:
    if not text.isdecimal() or not int(text):
        raise argparse.ArgumentTypeError(f"must be a whole number of at least 1, found {text}")
    return int(text)


if __name__ == "__main__":
    raise SystemExit(main(sys.argv[1:]))
