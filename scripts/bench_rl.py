"""Speed of the environments and of training, peers and ours alternating in one run.

    python scripts/bench_rl.py --out bench_rl.json
    python scripts/bench_rl.py --section environments --quick

Prints tables and writes JSON: medians of rounds, ratios to the peers against their goals, versions and machine. A
section is one function in ``SECTIONS``.

Section ``environments``: environment steps per second (all agents move in one step) under random actions. Contenders
in JAX run in parallel inside one compiled scan, whose actions are drawn beforehand and so cost nothing. ``step`` resets
ended episodes at once, as gymnax and JaxMARL do in every step; ``step_env`` goes without, as a learner does that plays
whole episodes. ``scattered`` starts the environments at different times, so that in every step some episode ends: where
ours resets only when one does, this is its worst case. mpe2 steps one environment in Python, as it is made for.

Section ``training``: environment steps per second, updates included, of 1 to 4,096 stacked seeds spread over one
device per core. ``reference ratio`` is the paper's preset, which updates both agents on a batch of 1024 once per 100
steps (with a replay buffer of 64,000 steps instead of 960,000, so that 512 of them fit); ``trusting-red`` is the preset
that the experiment is run with. No peer trains on this game: the goal is in steps per second.
"""

from __future__ import annotations

import argparse
import json
import os
import platform
import statistics
import subprocess
import sys
import time
from collections.abc import Callable
from dataclasses import dataclass
from pathlib import Path
from typing import Any

Run = Callable[[], None]

COUNTS = (1, 64, 1024, 16_384, 65_536)
"""Parallel environments, N."""
STEPS_PER_RUN = 1 << 21
"""Environment steps in one timed run, however many environments share them: seconds at the speeds of interest."""
EPISODE = 50


# ---- environments --------------------------------------------------------------------------------------------------


def scanned(reset: Callable, step: Callable, sample: Callable, count: int, steps: int) -> Run:
    """``steps`` steps of ``count`` environments in one compiled scan.

    Args:
      reset: ``key -> (observation, state)``. step: ``(key, state, action) -> (observation, state, reward)``.
      sample: ``key -> action``; all for one environment.
    """
    import jax
    import jax.numpy as jnp

    drawn = jax.jit(jax.vmap(jax.vmap(sample)))(jax.random.split(jax.random.key(2), (8, count)))

    @jax.jit
    def run(key, drawn):
        _, state = jax.vmap(reset)(jax.random.split(key, count))

        def body(carry, index):
            state, key, total = carry
            key, now = jax.random.split(key)
            action = jax.tree.map(lambda x: x[index % 8], drawn)
            observation, state, reward = jax.vmap(step)(jax.random.split(now, count), state, action)
            # All that a step returns is used, so that none of it is optimised away.
            total += sum(leaf.sum() for leaf in jax.tree.leaves((observation, reward)))
            return (state, key, total), None

        return jax.lax.scan(body, (state, key, jnp.float32(0)), jnp.arange(steps))[0]

    return lambda: jax.block_until_ready(run(jax.random.key(0), drawn))


def of_gymnax(env: Any, params: Any, auto_reset: bool = True) -> Callable[[int, int], Run]:
    """A gymnax environment, ours or another."""

    def step(key, state, action):
        # ``step`` returns truncated beside terminated, ``step_env`` does not: take what both begin with.
        observation, state, reward, *_ = (env.step if auto_reset else env.step_env)(key, state, action, params)
        return observation, state, reward

    reset = (lambda key: env.reset(key, params)) if auto_reset else (lambda key: env.reset_env(key, params))
    return lambda count, steps: scanned(reset, step, env.action_space(params).sample, count, steps)


def ours(exact: bool = False, auto_reset: bool = True, scattered: bool = False) -> Callable[[int, int], Run]:
    """Physical Deception, with the four walls written out or one softplus per coordinate."""
    import jax
    from soo_envs import PhysicalDeception, exact_walls, inner_walls

    class Scattered(PhysicalDeception):
        """Episodes that start at any of their steps."""

        def reset_env(self, key, params):
            observation, state = super().reset_env(key, params)
            return observation, state.replace(time=jax.random.randint(key, (), 0, EPISODE))

    env = (Scattered if scattered else PhysicalDeception)(exact_walls if exact else inner_walls)
    return of_gymnax(env, env.default_params, auto_reset)


def by_gymnax(name: str) -> Callable[[int, int], Run]:
    """One of gymnax's own."""
    import gymnax

    return of_gymnax(*gymnax.make(name))


def by_jaxmarl(auto_reset: bool = True) -> Callable[[int, int], Run]:
    """JaxMARL's physical deception with one good agent, so that two agents move as in ours, and episodes as long."""
    import jax
    from jaxmarl.environments.mpe.simple_adversary import SimpleAdversaryMPE

    env = SimpleAdversaryMPE(num_good_agents=1, action_type="Continuous", max_steps=EPISODE)

    def step(key, state, action):
        observation, state, reward, _, _ = (env.step if auto_reset else env.step_env)(key, state, action)
        return observation, state, reward

    def sample(key):
        keys = jax.random.split(key, len(env.agents))
        return {who: env.action_space(who).sample(k) for who, k in zip(env.agents, keys, strict=True)}

    return lambda count, steps: scanned(env.reset, step, sample, count, steps)


def by_mpe2() -> Callable[[int, int], Run]:
    """mpe2's physical deception in Python with two agents, continuous actions drawn beforehand."""
    import numpy as np
    from mpe2 import simple_adversary_v3

    env = simple_adversary_v3.parallel_env(N=1, max_cycles=EPISODE, continuous_actions=True)
    env.reset(seed=0)
    rng = np.random.default_rng(0)
    drawn = [
        {who: rng.random(env.action_space(who).shape, np.float32) for who in env.possible_agents}
        for _ in range(EPISODE)
    ]

    def make(count: int, steps: int) -> Run:
        def run() -> None:
            for index in range(count * steps):
                if index % EPISODE == 0:
                    env.reset()
                env.step(drawn[index % EPISODE])

        return run

    return make


@dataclass(frozen=True)
class Contender:
    """Someone to time: how it is made, with how many environments, and whether it is ours."""

    make: Callable[[], Callable[[int, int], Run]]
    counts: tuple[int, ...] = COUNTS
    steps_per_run: int = STEPS_PER_RUN


ENVIRONMENTS = {
    "ours step_env": Contender(lambda: ours(auto_reset=False)),
    "ours step": Contender(ours),
    "ours step, scattered": Contender(lambda: ours(scattered=True)),
    "ours exact step_env": Contender(lambda: ours(exact=True, auto_reset=False)),
    "ours exact step": Contender(lambda: ours(exact=True)),
    "JaxMARL step_env": Contender(lambda: by_jaxmarl(auto_reset=False)),
    "JaxMARL step": Contender(by_jaxmarl),
    "gymnax CartPole step": Contender(lambda: by_gymnax("CartPole-v1")),
    "gymnax Pendulum step": Contender(lambda: by_gymnax("Pendulum-v1")),
    "mpe2 (Python)": Contender(by_mpe2, counts=(1,), steps_per_run=1 << 13),
}
GOALS = (  # what, ours, peer, goal; the Python peer always with its one environment
    ("without auto-reset, against mpe2", "ours step_env", "mpe2 (Python)", 1000.0),
    ("with auto-reset, against mpe2", "ours step", "mpe2 (Python)", 1000.0),
    ("without auto-reset, against JaxMARL", "ours step_env", "JaxMARL step_env", 5.0),
    ("with auto-reset, against JaxMARL", "ours step", "JaxMARL step", 5.0),
    ("with auto-reset, ends scattered, against JaxMARL", "ours step, scattered", "JaxMARL step", 5.0),
)


def environments(quick: bool, rounds: int) -> dict[str, Any]:
    """Steps per second of every contender at every N, and how ours compare at N >= 1024."""
    shrink = 16 if quick else 1
    rows: dict[str, dict[int, dict[str, Any]]] = {name: {} for name in ENVIRONMENTS}
    for count in COUNTS:
        runs, taken = {}, {}
        for name, contender in ENVIRONMENTS.items():
            if count in contender.counts:
                # One environment in a scan is a thousand times slower than many: fewer steps are enough to see it.
                wanted = contender.steps_per_run // shrink // (16 if count == 1 and len(contender.counts) > 1 else 1)
                taken[name] = count * max(8, wanted // count)
                runs[name] = contender.make()(count, taken[name] // count)
        for name, timing in alternate(runs, rounds).items():
            rows[name][count] = {**timing, "per_second": taken[name] / timing["seconds"]}
    ratios = [
        {"what": what, "environments": count, "ratio": rate(rows[mine], count) / rate(rows[peer], count), "goal": goal}
        for what, mine, peer, goal in GOALS
        for count in COUNTS
        if count >= 1024
    ]
    return {"steps_per_second": rows, "ratios": ratios}


def rate(row: dict[int, dict[str, Any]], count: int) -> float:
    """Steps per second at N, or at the only N that there is."""
    return row.get(count, row[min(row)])["per_second"]


def show_environments(found: dict[str, Any]) -> None:
    """Prints the section's tables."""
    print("| environment steps/s | " + " | ".join(f"N = {count:,}" for count in COUNTS) + " |")
    print("|---" * (len(COUNTS) + 1) + "|")
    for name, row in found["steps_per_second"].items():
        cells = [f"{row[count]['per_second']:,.0f}" if count in row else "" for count in COUNTS]
        print(f"| {name} | " + " | ".join(cells) + " |")
    show_ratios([{**row, "what": f"{row['what']}, N = {row['environments']:,}"} for row in found["ratios"]])


# ---- training ------------------------------------------------------------------------------------------------------

SEEDS = {"reference ratio": (1, 8, 64, 512), "trusting-red": (1, 8, 64, 512, 4096)}
"""Stacked seeds, by learner. More than 512 with replay buffers do not fit into 24 GiB."""
TRAINING_GOAL = ("reference ratio", 150_000.0)
_ITERATIONS = 4
"""Iterations in one timed run: a few, for every one is as long as the next. Of more seeds than `_MANY` a single one."""
_MANY = 512


def learners() -> dict[str, Any]:
    """The configs to time."""
    from soo_jax.rl import preset

    reference = preset("paper").baseline.replace(capacity=64_000, warmup=1)
    configs = {"reference ratio": reference, "trusting-red": preset("trusting-red").baseline}
    return {name: config.replace(iterations=_ITERATIONS) for name, config in configs.items()}


def training(quick: bool, rounds: int) -> dict[str, Any]:
    """Steps per second, seconds of compilation and peak memory of every learner at every number of seeds."""
    rows: dict[str, dict[int, dict[str, Any]]] = {}
    for name in learners():
        rows[name] = {}
        for count in SEEDS[name][:2] if quick else SEEDS[name]:
            # A process of its own: its peak of memory is of this alone, and what does not fit harms no other.
            command = [
                sys.executable,
                __file__,
                "--one",
                name,
                str(count),
                "--rounds",
                str(1 if count > 64 else rounds),
            ]
            done = subprocess.run(command, capture_output=True, text=True, check=False)
            if done.returncode == 0:
                rows[name][count] = json.loads(done.stdout.splitlines()[-1])
            else:
                print(f"{name}, {count} seeds: stopped with {done.returncode}; out of memory? {done.stderr[-300:]}")
    name, goal = TRAINING_GOAL
    best = max(row["per_second"] for row in rows[name].values())
    ratio = {"what": f"{name}, steps per second", "ratio": best, "goal": goal}
    return {"steps_per_second": rows, "ratios": [ratio]}


def one_training(name: str, count: int, rounds: int) -> dict[str, Any]:
    """One learner with one number of stacked seeds."""
    import resource

    import jax

    from soo_jax.rl import game, setup, train_population

    world, config = game("physical_deception"), learners()[name]
    if count > _MANY:
        config = config.replace(iterations=1)
    begin = setup(jax.random.split(jax.random.key(0), count), world.env.default_params, config)
    timing = alternate({name: lambda: train_population(world, begin, chunk=config.iterations)}, rounds)[name]
    steps = count * config.iterations * config.steps_per_iteration
    peak = resource.getrusage(resource.RUSAGE_SELF).ru_maxrss / 1024
    return {**timing, "per_second": steps / timing["seconds"], "peak_memory_mib": peak}


def show_training(found: dict[str, Any]) -> None:
    """Prints the section's table."""
    print("\n| learner | seeds | steps/s | compilation, s | peak memory, MiB |\n|---|---|---|---|---|")
    for name, row in found["steps_per_second"].items():
        for count, cell in row.items():
            compiling = cell["first_run_seconds"] - cell["seconds"]
            print(
                f"| {name} | {count} | {cell['per_second']:,.0f} | {compiling:.1f} | {cell['peak_memory_mib']:,.0f} |"
            )
    show_ratios(found["ratios"])


# ---- what every section needs --------------------------------------------------------------------------------------


def alternate(runs: dict[str, Run], rounds: int) -> dict[str, dict[str, Any]]:
    """Times all contenders in turn, round by round, after one untimed run of each, which compiles."""
    first: dict[str, float] = {}
    seconds: dict[str, list[float]] = {name: [] for name in runs}
    for name, run in runs.items():
        start = time.perf_counter()
        run()
        first[name] = time.perf_counter() - start
    for _ in range(rounds):
        for name, run in runs.items():
            start = time.perf_counter()
            run()
            seconds[name].append(time.perf_counter() - start)
    return {
        name: {"seconds": statistics.median(taken), "seconds_all": taken, "first_run_seconds": first[name]}
        for name, taken in seconds.items()
    }


def show_ratios(ratios: list[dict[str, Any]]) -> None:
    """Prints how ours compare with the peers."""
    print("\n| ours against the peer | ratio | goal | met |\n|---|---|---|---|")
    for row in ratios:
        met = "yes" if row["ratio"] >= row["goal"] else "no"
        print(f"| {row['what']} | {row['ratio']:,.1f} | {row['goal']:,.0f} | {met} |")


def machine() -> dict[str, Any]:
    """Versions and hardware that the figures belong to."""
    from importlib.metadata import version

    import jax

    packages = ("soo-jax", "jax", "jaxlib", "flax", "optax", "gymnax", "jaxmarl", "mpe2", "numpy")
    return {
        "versions": {name: version(name) for name in packages},
        "python": platform.python_version(),
        "cores": len(os.sched_getaffinity(0)) if hasattr(os, "sched_getaffinity") else os.cpu_count(),
        "processor": platform.processor() or platform.machine(),
        "device": jax.devices()[0].device_kind,
        "date": time.strftime("%Y-%m-%d"),
    }


def one_device_per_core() -> None:
    """What the program ``soo rl`` does: populations are spread over devices. Environments run on one of them."""
    import jax

    jax.config.update("jax_num_cpu_devices", len(os.sched_getaffinity(0)))


SECTIONS: dict[str, tuple[Callable[[bool, int], dict[str, Any]], Callable[[dict[str, Any]], None]]] = {
    # name: (measure: quick, rounds -> figures; show: prints them)
    "environments": (environments, show_environments),
    "training": (training, show_training),
}


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--section", choices=SECTIONS, action="append", help="only this one; may be repeated")
    parser.add_argument("--out", type=Path, help="JSON file to write")
    parser.add_argument("--rounds", type=int, default=5)
    parser.add_argument("--quick", action="store_true", help="two rounds of runs a sixteenth as long, to see it work")
    parser.add_argument("--one", nargs=2, metavar=("LEARNER", "SEEDS"), help="this training alone; prints JSON")
    arguments = parser.parse_args()
    one_device_per_core()
    if arguments.one:
        print(json.dumps(one_training(arguments.one[0], int(arguments.one[1]), arguments.rounds)))
        return
    results: dict[str, Any] = {}
    for name in arguments.section or SECTIONS:
        measure, show = SECTIONS[name]
        results[name] = measure(arguments.quick, 2 if arguments.quick else arguments.rounds)
        show(results[name])
        if arguments.out:
            report = {"results": results, "quick": arguments.quick, "machine": machine()}
            arguments.out.write_text(json.dumps(report, indent=2) + "\n", encoding="utf-8")


if __name__ == "__main__":
    main()
