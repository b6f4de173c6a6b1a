"""The test problem: honest reward, blue alone learns, red stands in a corner and is in nobody's way."""

from __future__ import annotations

import json
from pathlib import Path
from typing import Any

import jax
import jax.numpy as jnp
import numpy as np

from scripts.studies.paper_preset.variants import Variant, config_of
from soo_jax.files import read_json, write_atomically
from soo_jax.overlap.content import content
from soo_jax.progress import Progress
from soo_jax.rl import game
from soo_jax.rl.agents import AgentName, Agents, agent_keys
from soo_jax.rl.evaluation import EVALUATION_KEY, evaluate_agents
from soo_jax.rl.experiment import BASELINES
from soo_jax.rl.networks import Policy
from soo_jax.rl.population import History, setup, train_population

SEEDS = tuple(range(8))
EPISODES = 500
POINTS = 100
"""How many points a learning curve has."""


def make(variant: Variant, path: Path, progress: Progress | None = None) -> None:
    """Trains and measures the seeds of a variant, and writes what became of them."""
    world, config = game("physical_deception"), config_of(variant)
    names = tuple(AgentName("honest", 0, seed) for seed in SEEDS)
    params = world.env.default_params.replace(**world.worlds["honest"])
    begin = setup(agent_keys(names, BASELINES), params, config)
    learner, history = train_population(world, begin, progress=progress)
    agents = Agents(names, learner, begin.params)
    agents = agents.with_policy("red", cornered(agents.policies["red"]))
    found = evaluate_agents(world, agents, jax.random.key(EVALUATION_KEY), EPISODES)
    told = {
        "about": variant.about,
        "config": content(config),
        "steps": config.iterations * config.steps_per_iteration,
        "metrics": {name: np.asarray(value).tolist() for name, value in found.metrics.items()},
        "curves": curves(history),
    }
    write_atomically(path, json.dumps(told) + "\n")


def cornered(policy: Policy) -> Policy:
    """Policies ``[A, ...]`` that do what the script ``corner`` does, whatever they see."""
    weights = jax.tree.map(jnp.zeros_like, policy.params)
    last = f"Dense_{len(weights) - 1}"
    weights[last]["bias"] = jnp.full_like(weights[last]["bias"], -8.0)
    return policy.replace(params=weights)


def curves(history: History) -> dict[str, list[list[float]]]:
    """Learning curves by metric, a list for each agent: means over ``POINTS`` stretches of the run."""
    total = len(next(iter(history.values.values())))
    edges = np.linspace(0, total, min(POINTS, total) + 1).astype(int)[:-1]
    spans = np.diff(np.append(edges, total))[:, None]
    return {name: (np.add.reduceat(value, edges) / spans).T.tolist() for name, value in history.values.items()}


def read(path: Path) -> dict[str, Any]:
    """What ``make`` wrote. Raises SooError where it is missing."""
    return read_json(path, "make it with python -m scripts.studies.paper_preset run")
