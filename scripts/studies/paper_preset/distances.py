"""The paper's claim on behaviour, with a yardstick: how far apart agents of one kind are that differ by their seed.
And whether red is led by blue at all.

Every agent is compared with every agent of another seed, of its own condition and of the others, on the same resets.
"""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence
from itertools import combinations_with_replacement
from pathlib import Path
from typing import Any

import jax
import numpy as np

from scripts.studies.paper_preset.training import cornered
from soo_jax.jobs.agent_folders import read_agents
from soo_jax.rl import game
from soo_jax.rl.agents import Agents
from soo_jax.rl.evaluation import EVALUATION_KEY, evaluate_agents

EPISODES = 500


def measure(folders: Sequence[Path]) -> dict[str, Any]:
    """Distances between all conditions of some run folders, as ``{"a, b": {difference: [A]}}``.

    A value belongs to an agent of ``a``: its mean distance to the agents of ``b`` that have another seed. The first
    folder that has a condition gives its agents.
    """
    world = game("physical_deception")
    agents: dict[str, Agents] = {}
    for folder in folders:
        own, _ = read_agents(folder)
        for condition in dict.fromkeys(name.condition for name in own.names):
            agents.setdefault(condition, own.of(condition))
    key = jax.random.key(EVALUATION_KEY)
    found = {name: jax.device_get(evaluate_agents(world, some, key, EPISODES)) for name, some in agents.items()}
    return between({name: [who.seed for who in some.names] for name, some in agents.items()}, found, world.differences)


def red_alone(folder: Path) -> dict[str, Any]:
    """What red does when blue stands in a corner, as ``{condition: {metric: [A]}}``: does it need blue to be led?"""
    world, (agents, _) = game("physical_deception"), read_agents(folder)
    agents = agents.with_policy("blue", cornered(agents.policies["blue"]))
    told = {}
    for condition in dict.fromkeys(name.condition for name in agents.names):
        found = evaluate_agents(world, agents.of(condition), jax.random.key(EVALUATION_KEY), EPISODES)
        told[condition] = {name: np.asarray(found.metrics[name]).tolist() for name in ("trapped", "red_ever_at_goal")}
    return told


def between(
    seeds: Mapping[str, Sequence[int]],
    found: Mapping[str, Any],
    differences: Callable[[Any, Any], dict[str, Any]],
) -> dict[str, Any]:
    """Distances as ``measure`` tells them.

    Args:
      seeds: of the agents of every condition. found: their evaluations, leaves ``[A, ...]``. differences: of two
        evaluations whose agents are paired.
    """
    told: dict[str, dict[str, list[float]]] = {}
    for a, b in combinations_with_replacement(seeds, 2):
        pairs = np.asarray(
            [(i, j) for i, one in enumerate(seeds[a]) for j, other in enumerate(seeds[b]) if one != other]
        )
        values = differences(_take(found[a], pairs[:, 0]), _take(found[b], pairs[:, 1]))
        told[f"{a}, {b}"] = {
            name: [float(np.mean(np.asarray(value)[pairs[:, 0] == i])) for i in range(len(seeds[a]))]
            for name, value in values.items()
        }
    return told


def _take(found: Any, rows: np.ndarray) -> Any:
    return jax.tree.map(lambda leaf: leaf[rows], found)
