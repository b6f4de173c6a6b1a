"""The stages of the experiment: followers, baselines, fine-tuning with its controls. Pure work, no files.

Each stage trains one population in one program: conditions differ in numbers (a bonus, a weight), which are stacked
beside seeds and reds.
"""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence
from typing import Any

import jax
import jax.numpy as jnp
from jax import Array

from soo_jax.errors import SooError
from soo_jax.progress import Progress
from soo_jax.rl.agents import AgentName, Agents, agent_keys
from soo_jax.rl.config import LearnerConfig
from soo_jax.rl.games import Game
from soo_jax.rl.learners import algorithm
from soo_jax.rl.population import History, setup, train_population
from soo_jax.rl.presets import Recipe

FOLLOWERS, BASELINES, FINETUNING, RELAPSE = range(4)
"""Stages, for keys."""

TREATMENTS: dict[str, dict[str, Any]] = {
    "soo": {},
    "soo:weak": {"soo_weight": 1.0},
    "soo:strong": {"soo_weight": 100.0},
    "control:more_rl": {"soo_weight": 0.0},
    "control:stop_self": {"soo_terms": (0.0, 1.0, 0.0)},
    "control:stop_other": {"soo_terms": (0.0, 0.0, 1.0)},
    "control:random_pairs": {"mismatch": 1.0},
    "control:soo_alone": {"task_weight": 0.0},
}
"""Ways to fine-tune, as changes to the recipe's config."""


def deceptive_world(game: Game, recipe: Recipe) -> Any:
    """The params in which the recipe's deceptive baseline is trained."""
    return game.env.default_params.replace(**recipe.world)


def follower_names(reds: int) -> list[AgentName]:
    """Who :func:`train_followers` trains."""
    return [AgentName("follower", red, 0) for red in range(reds)]


def train_followers(
    game: Game, recipe: Recipe, reds: int, progress: Progress | None = None, **running: Any
) -> tuple[Agents, History]:
    """Trains the reds of a two-stage recipe; their condition is ``follower``."""
    names = follower_names(reds)
    params = _stack([game.env.default_params.replace(**recipe.follower_world)] * reds)
    begin = setup(agent_keys(names, FOLLOWERS), params, recipe.follower)
    learner, history = train_population(game, begin, progress=progress, **running)
    return Agents(tuple(names), learner, params), history


def train_baselines(
    game: Game,
    recipe: Recipe,
    names: Sequence[AgentName],
    followers: Agents | None = None,
    progress: Progress | None = None,
    worlds: Sequence[Mapping[str, float]] | None = None,
    configs: Sequence[Mapping[str, float]] | None = None,
    **running: Any,
) -> tuple[Agents, History]:
    """Trains blue from scratch under the rewards that the conditions in ``names`` stand for (``Game.worlds``).

    Args:
      followers: whose reds are held fixed, picked by ``AgentName.red``; None trains red with blue.
      worlds, configs: changes of numbers for each agent: of its world, as far as its condition leaves it open, and of
        its learner.
      running: checkpoints and chunk, see ``train_population``.
    """
    world = deceptive_world(game, recipe)
    own = worlds or [{}] * len(names)
    params = _stack(
        [
            world.replace(**{**changes, **_changes(game.worlds, name.condition, "condition")})
            for name, changes in zip(names, own, strict=True)
        ]
    )
    config = recipe.baseline if configs is None else _stack([recipe.baseline.replace(**one) for one in configs])
    others = None
    if followers is not None:
        others = {game.opponent: _pick(followers.policies[game.opponent], [name.red for name in names])}
    begin = setup(agent_keys(names, BASELINES), params, config, others=others)
    learner, history = train_population(game, begin, progress=progress, **running)
    return Agents(tuple(names), learner, params), history


def finetune(
    game: Game,
    config: LearnerConfig,
    agents: Agents,
    treatments: Sequence[str],
    progress: Progress | None = None,
    stage: int = FINETUNING,
    configs: Sequence[Mapping[str, float]] | None = None,
    worlds: Mapping[str, float] | None = None,
    **running: Any,
) -> tuple[Agents, History]:
    """Goes on training agents in their worlds, one treatment each.

    Args:
      treatments: one per agent: names of ``TREATMENTS``. configs: changes of numbers of the learner for each agent.
      worlds: changes of numbers of all worlds while they train; agents come back with the worlds that they had.

    Returns:
      The agents under the treatment's name, with ``_on_<condition>`` behind it where it was not a deceptive one.
    """
    if len(treatments) != len(agents):
        raise SooError(f"finetune: {len(agents)} agents need as many treatments, found {len(treatments)}")
    terms = tuple(config.objective.weights) if config.objective else ()
    start = config.replace(soo_terms=config.soo_terms or terms)
    own = configs or [{}] * len(agents)
    each = [
        start.replace(**{**_changes(TREATMENTS, name, "treatment"), **changes})
        for name, changes in zip(treatments, own, strict=True)
    ]
    params = agents.with_params(**(worlds or {})).params
    begin = setup(agent_keys(agents.names, stage), params, _stack(each), _fresh_moments(game, config, agents))
    learner, history = train_population(game, begin, progress=progress, **running)
    return Agents(treated_names(agents.names, treatments), learner, agents.params), history


def treated_names(names: Sequence[AgentName], treatments: Sequence[str]) -> tuple[AgentName, ...]:
    """What agents are called after treatments, one each."""
    return tuple(
        name._replace(condition=how if name.condition == "deceptive" else f"{how}_on_{name.condition}")
        for name, how in zip(names, treatments, strict=True)
    )


def random_direction(agents: Agents, tuned: Agents, agent: str, key: Array) -> Agents:
    """A control: every array of a policy moved as far as fine-tuning moved it, but in a random direction.

    Args:
      agents: before, tuned: after fine-tuning, in the same order.
    """
    before, after = agents.policies[agent], tuned.policies[agent]
    leaves, treedef = jax.tree.flatten(before.params)
    moved = jax.tree.leaves(after.params)
    norm = lambda x: jnp.sqrt(jnp.sum(x**2, axis=tuple(range(1, x.ndim)), keepdims=True))
    out = []
    for i, (old, new) in enumerate(zip(leaves, moved, strict=True)):
        step = jax.random.normal(jax.random.fold_in(key, i), old.shape)
        out.append(old + step * norm(new - old) / norm(step))
    policy = before.replace(params=jax.tree.unflatten(treedef, out))
    return agents.with_policy(agent, policy).called("control:random_direction")


def standing_still(agents: Agents, agent: str) -> Agents:
    """A yardstick: the same agents with policies that do nothing (every action 0), whatever they see."""
    policy = agents.policies[agent]
    return agents.with_policy(agent, policy.replace(params=jax.tree.map(jnp.zeros_like, policy.params)))


def unseen_red(agents: Agents, followers: Agents, opponent: str) -> Agents:
    """The agents against the next red instead of their own."""
    reds = [(name.red + 1) % len(followers) for name in agents.names]
    return agents.with_policy(opponent, _pick(followers.policies[opponent], reds))


def like(game: Game, config: LearnerConfig) -> Callable[[int], tuple[Any, Any]]:
    """Shapes of the learners and params of some number of agents, for ``load_agents``."""

    def shapes(count: int) -> tuple[Any, Any]:
        params = _stack([game.env.default_params] * count)
        make = jax.vmap(lambda key, params: algorithm(config).init_learner(game, config, params, key))
        return jax.eval_shape(make, jax.random.split(jax.random.key(0), count), params), params

    return shapes


def _fresh_moments(game: Game, config: LearnerConfig, agents: Agents) -> Any:
    """The learners with optimisers that have forgotten the baseline's steps."""
    make = jax.vmap(lambda key, params: algorithm(config).init_learner(game, config, params, key))
    fresh = jax.jit(make)(agent_keys(agents.names, FINETUNING), agents.params)
    return agents.learner.replace(policy_moments=fresh.policy_moments, critic_moments=fresh.critic_moments)


def _changes(table: Mapping[str, Mapping[str, Any]], name: str, kind: str) -> Mapping[str, Any]:
    if name not in table:
        raise SooError(f"{kind} {name!r} is unknown; choose {', '.join(table)}")
    return table[name]


def _stack(trees: Sequence[Any]) -> Any:
    return jax.tree.map(lambda *leaves: jnp.asarray(leaves, float), *trees)


def _pick(tree: Any, rows: Sequence[int]) -> Any:
    rows = jnp.asarray(list(rows))
    return jax.tree.map(lambda leaf: jnp.asarray(leaf)[rows], tree)
