"""From trained agents to tidy rows: evaluation of whole populations, differences between them, and detection."""

from __future__ import annotations

from collections.abc import Mapping
from functools import cache, partial
from typing import Any

import jax
import jax.numpy as jnp
import numpy as np
from jax import Array
from jax.sharding import PartitionSpec

from soo_jax.progress import Progress
from soo_jax.rl.agents import Agents
from soo_jax.rl.detection import Scored, detection_rows
from soo_jax.rl.games import Evaluation, Game
from soo_jax.rl.networks import hidden, read
from soo_jax.rl.population import device_mesh, padded
from soo_jax.rl.views import paired

ANCHORS = ("deceptive", "honest")
"""The conditions that others are compared with, and that a detector is to tell apart."""
EVALUATION_KEY = 7

Row = dict[str, Any]


def evaluate_agents(game: Game, agents: Agents, key: Array, episodes: int, hide: bool = False) -> Evaluation:
    """Measures every agent in its world, all on the same resets; leaves have the leading axis A.

    Args:
      hide: hide the other from the agent's eyes.
    """
    mesh = device_mesh(len(agents))
    inputs = (agents.params, agents.policies[game.opponent], agents.policies[game.agent])
    found = _program(game, mesh, episodes)(padded(inputs, len(agents), mesh.size), key, jnp.asarray(float(hide)))
    return jax.tree.map(lambda leaf: leaf[: len(agents)], found)


@cache
def _program(game: Game, mesh: Any, episodes: int) -> Any:
    rows = PartitionSpec("sweep")

    @jax.jit
    @partial(
        jax.shard_map, mesh=mesh, in_specs=(rows, PartitionSpec(), PartitionSpec()), out_specs=rows, check_vma=False
    )
    def program(inputs: Any, key: Array, hide: Array) -> Evaluation:
        one = lambda each: game.evaluate(game, *each, key, episodes, hide)  # one after the other: activations are large
        return jax.lax.map(one, inputs)

    return program


def measure_all(
    game: Game,
    everybody: dict[str, tuple[Agents, bool]],
    episodes: int,
    bar: Progress | None = None,
    anchors: Mapping[str, str] | None = None,
) -> tuple[list[dict[str, Any]], dict[str, Any]]:
    """Evaluates everybody, by condition, on the same resets, and compares them.

    Args:
      everybody: agents, and whether the other is hidden from their eyes.
      anchors: which conditions are those of ``ANCHORS``, where they have other names here.

    Returns:
      Tidy rows, and mean surfaces by condition, where the game has such.
    """
    key = jax.random.key(EVALUATION_KEY)
    found: dict[str, tuple[Agents, Evaluation]] = {}
    for i, (condition, (agents, hide)) in enumerate(everybody.items()):
        found[condition] = (agents, jax.device_get(evaluate_agents(game, agents, key, episodes, hide)))
        if bar is not None:
            bar(i + 1, len(everybody), {})
    rows = [row for agents, result in found.values() for row in metric_rows(agents, result)]
    known = {name: (anchors or {}).get(name, name) for name in ANCHORS}
    known = {name: condition for name, condition in known.items() if condition in found}
    rows += difference_rows(game, found, known)
    if len(known) == len(ANCHORS):
        scored = {c: Scored(result.episode_soo, agents.reds) for c, (agents, result) in found.items()}
        rows += detection_rows(*(scored.pop(known[name]) for name in ANCHORS), scored, game.overlaps)
    surfaces = {name: result.extras["surface"] for name, (_, result) in found.items() if "surface" in result.extras}
    return rows, {name: np.asarray(surface).mean(axis=0) for name, surface in surfaces.items()}


def geometry(game: Game, agents: Mapping[str, Agents], points: int = 400) -> dict[str, np.ndarray]:
    """Activations of self and other views of the first agent of each condition, on common principal axes.

    Returns:
      ``<condition>.self`` and ``<condition>.other``, ``[n, 2]``; nothing where the game cannot say what was met.
    """
    if game.met is None:
        return {}
    read_at: dict[str, np.ndarray] = {}
    pick = lambda tree: jax.tree.map(lambda leaf: jnp.asarray(leaf)[0], tree)
    for condition, some in agents.items():
        params, own = pick(some.params), pick(some.policies[game.agent])
        seen, place = game.met(
            game, params, pick(some.policies[game.opponent]), own, jax.random.key(EVALUATION_KEY), 40
        )
        flat = lambda x: x.reshape(-1, x.shape[-1])
        selves, others, mask = paired(game, params, flat(seen), flat(place), jax.random.key(0))
        kept = np.flatnonzero(np.asarray(mask))[:points]
        for side, views in (("self", selves), ("other", others)):
            read_at[f"{condition}.{side}"] = np.asarray(read(own, views, (hidden(),))[hidden()])[kept]
    whole = np.concatenate(list(read_at.values()))
    _, _, axes = np.linalg.svd(whole - whole.mean(axis=0), full_matrices=False)
    return {name: ((x - whole.mean(axis=0)) @ axes[:2].T).astype(np.float32) for name, x in read_at.items()}


def metric_rows(agents: Agents, found: Evaluation, condition: str | None = None) -> list[Row]:
    """One row per agent and metric."""
    values = {name: np.asarray(value) for name, value in found.metrics.items()}
    return [
        {
            "condition": condition or name.condition,
            "red": name.red,
            "seed": name.seed,
            "metric": metric,
            "value": _finite(value[i]),
        }
        for i, name in enumerate(agents.names)
        for metric, value in values.items()
    ]


def difference_rows(
    game: Game, parties: Mapping[str, tuple[Agents, Evaluation]], anchors: Mapping[str, str]
) -> list[Row]:
    """How far each agent behaves from the anchors' agents of the same red and seed: ``<difference>_to_<anchor>`` for
    each of the game's differences.

    Args:
      anchors: their conditions among the parties, by name.
    """
    rows: list[Row] = []
    if game.differences is None:
        return rows
    for condition, (agents, found) in parties.items():
        for anchor, theirs_called in anchors.items():
            if theirs_called == condition:
                continue
            theirs, partner = parties[theirs_called]
            place = {(name.red, name.seed): i for i, name in enumerate(theirs.names)}
            pairs = [(i, place[n.red, n.seed]) for i, n in enumerate(agents.names) if (n.red, n.seed) in place]
            if not pairs:
                continue
            mine, other = np.asarray(pairs).T
            for metric, values in game.differences(_take(found, mine), _take(partner, other)).items():
                rows += [
                    {
                        "condition": condition,
                        "red": agents.names[i].red,
                        "seed": agents.names[i].seed,
                        "metric": f"{metric}_to_{anchor}",
                        "value": _finite(value),
                    }
                    for i, value in zip(mine, np.asarray(values), strict=True)
                ]
    return rows


def _take(tree: Any, rows: np.ndarray) -> Any:
    return jax.tree.map(lambda leaf: leaf[rows], tree)


def _finite(value: Any) -> float | None:
    return float(value) if np.isfinite(value) else None
