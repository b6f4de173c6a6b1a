"""Where the time of an iteration of training goes, and how far its products are from what the machine can do.

    python scripts/profile_rl.py --out profile.json

The learners are those of ``bench_rl.py``, 8 stacked seeds on one device.
"""

from __future__ import annotations

import argparse
import json
from pathlib import Path
from typing import Any

from bench_rl import alternate, learners, machine

PROFILED_SEEDS = 8


def parts(config: Any, rounds: int) -> dict[str, float]:
    """An iteration of 8 stacked seeds: all of it, playing, and by their number the updates."""
    import jax

    from soo_jax.rl import game
    from soo_jax.rl.experience import collect, gaussian
    from soo_jax.rl.learners import algorithm

    world = game("physical_deception")
    params, learn = world.env.default_params, algorithm(config)
    count = "updates" if hasattr(config, "updates") else "epochs"
    start = jax.jit(jax.vmap(lambda key: learn.init_state(world, config, params, key)))
    state = start(jax.random.split(jax.random.key(0), PROFILED_SEEDS))
    whole, single = (
        jax.jit(jax.vmap(lambda each, c=c: learn.iterate(world, c, params, each)))
        for c in (config, config.replace(**{count: 1}))
    )
    noise = gaussian({name: 0.1 for name in config.learns})
    play = jax.jit(jax.vmap(lambda each: collect(world, config, params, each.learner.policies, noise, each.key)))
    programs = {"whole": whole, "single": single, "play": play}
    timed = alternate({name: lambda f=f: jax.block_until_ready(f(state)) for name, f in programs.items()}, rounds)
    ms = {name: 1e3 * timing["seconds"] for name, timing in timed.items()}
    updates = getattr(config, count) * getattr(config, "minibatches", 1)
    step = (ms["whole"] - ms["single"]) / (updates - updates / getattr(config, count))
    return {
        "iteration_ms": ms["whole"],
        "play_ms": ms["play"],
        "updates": updates,
        "update_ms": step,
        "rest_ms": ms["whole"] - ms["play"] - updates * step,
        "update_gflops": update_flops(world, config, state) / step / 1e6,
    }


def update_flops(world: Any, config: Any, state: Any) -> float:
    """Of one update of all seeds: XLA counts the body of a loop once, and all but the update costs the same if its
    batch is halved.
    """
    import jax

    from soo_jax.rl.learners import algorithm

    def counted(changed: Any) -> float:
        one = lambda each: algorithm(changed).iterate(world, changed, world.env.default_params, each)
        return jax.jit(jax.vmap(one)).lower(state).compile().cost_analysis()["flops"]

    if hasattr(config, "batch_size"):
        return 2 * (counted(config) - counted(config.replace(batch_size=config.batch_size // 2)))
    whole, half = (counted(config.replace(minibatches=n)) for n in (1, 2))
    return 2 * (whole - half) / config.minibatches


def matrix_products(rounds: int) -> dict[str, float]:
    """GFLOP/s of products as in the updates (8 seeds, 1024 samples, 64 x 64), and of large ones, on one device."""
    import jax
    import jax.numpy as jnp

    shapes = {"64 wide": ((PROFILED_SEEDS, 1024, 64), (PROFILED_SEEDS, 64, 64)), "2048 wide": ((2048, 2048),) * 2}
    found = {}
    for name, (left, right) in shapes.items():
        x, y = jnp.ones(left), jnp.full(right, 1 / right[-1])
        repeats = 200 if len(left) == 3 else 4
        product = jax.jit(lambda x, y, n=repeats: jax.lax.fori_loop(0, n, lambda _, x: x @ y, x))
        seconds = alternate({name: lambda f=product, x=x, y=y: f(x, y).block_until_ready()}, rounds)[name]["seconds"]
        found[name] = 2e-9 * repeats * x.size * y.shape[-1] / seconds
    return found


def show(found: dict[str, Any]) -> None:
    """Prints the table."""
    columns = ("iteration, ms", "playing, ms", "updates", "an update, ms", "rest, ms", "GFLOP/s in updates")
    print("\n| 8 seeds | " + " | ".join(columns) + " |")
    print("|---" * (len(columns) + 1) + "|")
    for name, row in found["iterations"].items():
        print(f"| {name} | " + " | ".join(f"{value:,.1f}" for value in row.values()) + " |")
    print("\nmatrix products, GFLOP/s: " + ", ".join(f"{name} {rate:,.0f}" for name, rate in found["gflops"].items()))


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--out", type=Path, help="JSON file to write")
    parser.add_argument("--rounds", type=int, default=5)
    arguments = parser.parse_args()
    iterations = {name: parts(config, arguments.rounds) for name, config in learners().items()}
    found = {"iterations": iterations, "gflops": matrix_products(arguments.rounds)}
    show(found)
    if arguments.out:
        arguments.out.write_text(json.dumps(found | {"machine": machine()}, indent=2) + "\n", encoding="utf-8")


if __name__ == "__main__":
    main()
