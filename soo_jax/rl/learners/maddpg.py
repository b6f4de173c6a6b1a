"""MADDPG as pure functions, the whole run one program (Lowe et al. 2017, arXiv 1706.02275).

A learner is a pytree, a run is a ``lax.scan`` over iterations, and everything vmaps: over seeds, over any float of the
config, over any number of the environment's params. In one iteration all environments play one episode, which goes
into the replay buffer on device, and every agent that learns is updated ``config.updates`` times from it.

An agent whose parameters, or whose rewards, stop being finite is frozen as it last was; others in the same stack go on.
"""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

import chex
import flashbax
import jax
import jax.numpy as jnp
from flax import struct
from jax import Array

from soo_jax.rl.config import MaddpgConfig
from soo_jax.rl.experience import Explore, Packing, Transition, behaviour_of, collect, normal
from soo_jax.rl.games import Game
from soo_jax.rl.learning import (
    NEVER,
    adam,
    all_finite,
    choose,
    keep_if_finite,
    network_keys,
    normalised,
    ramp,
    soo_loss,
    stepped,
)
from soo_jax.rl.networks import Critic, Normaliser, Policy, actor_of, before_tanh, init_policy, whitened

_SATURATED = 0.99
"""An action this large is taken for saturated: tanh has lost 98 % of its slope."""

_MOMENTUM = 0.1
"""How far a batch moves the statistics by which policies act that learn with batch norm."""


@struct.dataclass
class Learner:
    """All that one run has learned; what fine-tuning starts from. Dicts are by agent.

    Attributes:
      policies: of everybody, those who do not learn included. targets: slow parameters of policies that learn.
      critics, critic_targets, policy_moments, critic_moments: of agents that learn (moments: optimiser states).
      rewards: normalisers ``[]`` of everybody's rewards.
    """

    policies: dict[str, Policy]
    targets: dict[str, Any]
    critics: dict[str, Any]
    critic_targets: dict[str, Any]
    policy_moments: dict[str, Any]
    critic_moments: dict[str, Any]
    rewards: dict[str, Normaliser]


@struct.dataclass
class TrainState:
    """A run in the middle; saved and restored whole, it goes on to the same end.

    Attributes:
      replay: of flashbax, rows as ``Packing`` lays them out.
      iteration: iterations done. frozen_at: the iteration at which a number was not finite, or ``NEVER``.
      base: the policy of the game's agent when the run began.
    """

    learner: Learner
    replay: Any
    key: Array
    iteration: Array
    frozen_at: Array
    base: Policy


def init_learner(game: Game, config: MaddpgConfig, params: Any, key: Array) -> Learner:
    """Fresh networks for everybody."""
    sizes = game.sizes(params)
    for_policies, for_critics = network_keys(game.agents, key)
    policies = {name: init_policy(for_policies[name], *sizes[name], config.hidden) for name in game.agents}
    width = sum(observation + action for observation, action in sizes.values())
    fresh = lambda key: Critic(config.hidden).init(key, jnp.zeros(width))["params"]
    critics = {name: fresh(for_critics[name]) for name in config.learns}
    return Learner(
        policies=policies,
        targets={name: policies[name].params for name in config.learns},
        critics=critics,
        critic_targets=critics,
        policy_moments={name: adam(config, config.policy_rate).init(policies[name].params) for name in config.learns},
        critic_moments={name: adam(config, config.critic_rate).init(critics[name]) for name in config.learns},
        rewards={name: Normaliser.of_size() for name in game.agents},
    )


def init_state(
    game: Game,
    config: MaddpgConfig,
    params: Any,
    key: Array,
    learner: Learner | None = None,
    others: Mapping[str, Policy] | None = None,
) -> TrainState:
    """A run about to begin, its replay buffer filled for ``config.warmup`` iterations.

    Args:
      learner: what to go on from; None starts from scratch, and fills the buffer with noise instead of its play.
      others: policies of agents that do not learn, in place of the learner's.
    """
    begin, fill, run = jax.random.split(key, 3)
    fresh = learner is None
    learner = init_learner(game, config, params, begin) if fresh else learner
    learner = learner.replace(policies={**learner.policies, **(others or {})})
    packing, buffer = Packing.of(game, params), replay_buffer(config)
    state = TrainState(
        learner=learner,
        replay=buffer.init(jnp.zeros(packing.width)),
        key=run,
        iteration=jnp.asarray(0),
        frozen_at=jnp.asarray(NEVER),
        base=learner.policies[game.agent],
    )
    if not config.warmup:
        return state

    def warm(state: TrainState, i: Array) -> tuple[TrainState, None]:
        rate = 1.0 / (i + 1.0) if fresh else jnp.asarray(config.normaliser_rate)
        explore = ornstein_uhlenbeck(config, config.noise_from * jnp.ones(()), 0.0 if fresh else 1.0)
        played = collect(game, config, params, state.learner.policies, explore, jax.random.fold_in(fill, i))
        after = _remember(state, config, packing, played, rate)
        learner = choose(all_finite(after.learner), after.learner, state.learner)  # the first iteration will say so
        return after.replace(learner=learner), None

    return jax.lax.scan(warm, state, jnp.arange(config.warmup))[0]


def ornstein_uhlenbeck(config: MaddpgConfig, scale: Array, trust: Array | float = 1.0) -> Explore:
    """Noise with inertia, by ``scale`` and spread over the environments.

    Args:
      trust: 1 adds it to what policies choose, 0 leaves the noise alone to act.
    """
    spread = jnp.linspace(1 - config.noise_spread, 1 + config.noise_spread, config.environments)[:, None]
    stationary = config.noise_sigma * jax.lax.rsqrt(1 - (1 - config.noise_theta) ** 2)

    def begin(key: Array, shapes: dict[str, tuple[int, int]]) -> dict[str, Array]:
        return {name: stationary * draw for name, draw in normal(key, shapes).items()}

    def step(key: Array, chosen: dict[str, Array], noise: dict[str, Array]) -> Any:
        fresh = normal(key, {name: value.shape for name, value in chosen.items()})
        noise = {name: (1 - config.noise_theta) * noise[name] + config.noise_sigma * fresh[name] for name in chosen}
        acted = {name: jnp.clip(trust * chosen[name] + scale * spread * noise[name], -1.0, 1.0) for name in chosen}
        return acted, noise

    return Explore(begin, step)


def replay_buffer(config: MaddpgConfig) -> Any:
    """Uniform replay of single transitions."""
    return flashbax.make_item_buffer(
        max_length=config.capacity, min_length=1, sample_batch_size=config.batch_size, add_batches=True
    )


def iterate(game: Game, config: MaddpgConfig, params: Any, state: TrainState) -> tuple[TrainState, dict[str, Array]]:
    """One iteration: play, remember, update.

    Returns:
      The next state and scalar metrics of every agent: mean reward per step, losses, variance of the critic's targets
      (beside whose loss it says how much the critic explains), and the fraction of its actions that are saturated.
    """
    packing = Packing.of(game, params)
    play, learn = jax.random.split(jax.random.fold_in(state.key, state.iteration))
    done = state.iteration / config.iterations
    gone = jnp.clip(done / config.noise_until, 0.0, 1.0)
    scale = config.noise_from + (config.noise_to - config.noise_from) * gone
    played = collect(game, config, params, state.learner.policies, ornstein_uhlenbeck(config, scale), play)
    rate = jnp.maximum(config.normaliser_rate, 1.0 / (state.iteration + config.warmup + 1.0))
    after = _remember(state, config, packing, played, rate)
    weight = ramp(config, state.iteration) * config.soo_weight
    sample = replay_buffer(config).sample

    def step(learner: Learner, inputs: Any) -> tuple[Learner, dict[str, Array]]:
        key, turn = inputs
        pick, views = jax.random.split(key)
        batch = packing.unpack(sample(after.replay, pick).experience)
        return update(game, config, params, learner, state.base, batch, views, weight, turn % config.delay == 0)

    inputs = (jax.random.split(learn, config.updates), jnp.arange(config.updates))
    learner, losses = jax.lax.scan(step, after.learner, inputs)
    metrics = {name: jnp.mean(value) for name, value in losses.items()}
    metrics |= {f"reward_{name}": jnp.mean(played.reward[name]) for name in game.agents}
    learner, frozen_at = keep_if_finite(learner, state.learner, metrics, state.frozen_at, state.iteration)
    return after.replace(learner=learner, iteration=state.iteration + 1, frozen_at=frozen_at), metrics


def update(
    game: Game,
    config: MaddpgConfig,
    params: Any,
    learner: Learner,
    base: Policy,
    batch: Transition,
    key: Array,
    soo_weight: Array,
    policy_turn: Array,
) -> tuple[Learner, dict[str, Array]]:
    """One gradient step for the critic and, on its turn, the policy of every agent that learns, then of the targets.

    Args:
      base: the game's agent before this run. batch: transitions ``[B, ...]``.
      soo_weight: of the objective, now. policy_turn: [] bool.
    """
    chex.assert_rank(batch.over, 1)
    chex.assert_equal_shape([batch.over, *batch.reward.values()])  # a column beside a row would broadcast to a square
    seen, then = (
        {name: _as_seen(config, policy, looks[name]) for name, policy in learner.policies.items()}
        for looks in (batch.observation, batch.following)
    )
    next_actions = {name: _target_action(game, config, learner, name, batch, then) for name in game.agents}
    here, there = _joint(game, config, seen, batch.action), _joint(game, config, then, next_actions)
    losses: dict[str, Array] = {}
    policies, targets = dict(learner.policies), dict(learner.targets)
    critics, critic_targets = dict(learner.critics), dict(learner.critic_targets)
    policy_moments, critic_moments = dict(learner.policy_moments), dict(learner.critic_moments)
    critic = Critic(config.hidden)
    for name in config.learns:
        scale = learner.rewards[name]
        later = (1.0 - batch.over) * critic.apply({"params": critic_targets[name]}, there)
        goal = scale(batch.reward[name]) + config.gamma * later

        def critic_loss(weights: Any, goal: Array = goal) -> Array:
            return jnp.mean((critic.apply({"params": weights}, here) - goal) ** 2)

        losses[f"critic_loss_{name}"], slope = jax.value_and_grad(critic_loss)(critics[name])
        losses[f"target_variance_{name}"] = jnp.var(goal)
        critics[name], critic_moments[name] = stepped(
            adam(config, config.critic_rate), critics[name], slope, critic_moments[name]
        )

        def policy_loss(weights: Any, name: str = name) -> tuple[Array, dict[str, Array]]:
            return _policy_loss(
                game, config, params, learner, base, critics[name], name, weights, seen, batch, key, soo_weight
            )

        (_, parts), slope = jax.value_and_grad(policy_loss, has_aux=True)(policies[name].params)
        losses |= parts
        moved = stepped(adam(config, config.policy_rate), policies[name].params, slope, policy_moments[name])
        still = (policies[name].params, policy_moments[name])
        weights, policy_moments[name] = moved if config.delay == 1 else choose(policy_turn, moved, still)
        policies[name] = policies[name].replace(params=weights)
        targets[name] = _soft(targets[name], weights, config.tau)
        critic_targets[name] = _soft(critic_targets[name], critics[name], config.tau)
    if "observations" in config.batch_norm and config.normalise:
        for name in config.learns:
            met = policies[name].normaliser.updated(batch.observation[name], _MOMENTUM)
            policies[name] = policies[name].replace(normaliser=met)
    learner = learner.replace(
        policies=policies,
        targets=targets,
        critics=critics,
        critic_targets=critic_targets,
        policy_moments=policy_moments,
        critic_moments=critic_moments,
    )
    return learner, losses


def _policy_loss(
    game: Game,
    config: MaddpgConfig,
    params: Any,
    learner: Learner,
    base: Policy,
    critic: Any,
    name: str,
    weights: Any,
    seen: Mapping[str, Array],
    batch: Transition,
    key: Array,
    soo_weight: Array,
) -> tuple[Array, dict[str, Array]]:
    """Task loss -Q + penalty, and for the game's agent the SOO objective on the batch's self views."""
    chosen, layers = actor_of(weights).apply({"params": weights}, seen[name])
    actions = {**batch.action, name: chosen}
    for other in config.learns:
        if other != name:
            theirs = learner.policies[other].params
            actions[other] = jax.lax.stop_gradient(actor_of(theirs).apply({"params": theirs}, seen[other])[0])
    value = Critic(config.hidden).apply({"params": critic}, _joint(game, config, seen, actions))
    task = -jnp.mean(value) + config.action_penalty * jnp.mean(chosen**2)
    task = task + config.logit_penalty * jnp.mean(before_tanh(weights, layers) ** 2)
    saturated = jax.lax.stop_gradient(jnp.mean(jnp.abs(chosen) > _SATURATED))
    parts = {f"policy_loss_{name}": task, f"saturated_{name}": saturated}
    loss = config.task_weight * task
    if config.objective is not None and name == game.agent:
        policy = learner.policies[name].replace(params=weights)
        soo, terms = soo_loss(game, config, params, policy, base, batch.observation[name], batch.place, key)
        parts |= terms
        loss = loss + soo_weight * soo
    return loss, parts


def _target_action(
    game: Game, config: MaddpgConfig, learner: Learner, name: str, batch: Transition, then: Mapping[str, Array]
) -> Array:
    """The next action as the critic's target imagines it: slow policies for learners, what they do for the others."""
    if name in config.learns:
        weights = learner.targets[name]
        return actor_of(weights).apply({"params": weights}, then[name])[0]
    middling = jnp.full((3,), 0.5)
    return behaviour_of(game, config, name)(learner.policies[name], batch.following[name], middling)


def _as_seen(config: MaddpgConfig, policy: Policy, observation: Array) -> Array:
    """A batch of observations ``[B, O]`` as networks see them while they learn."""
    return whitened(observation) if "observations" in config.batch_norm else policy.normaliser(observation)


def _joint(game: Game, config: MaddpgConfig, observations: Mapping[str, Array], actions: Mapping[str, Array]) -> Array:
    """What a centralised critic sees ``[B, I]``: everybody's normalised observations, then everybody's actions."""
    acted = jnp.concatenate([actions[name] for name in game.agents], axis=-1)
    seen = [observations[name] for name in game.agents]
    return jnp.concatenate([*seen, whitened(acted) if "actions" in config.batch_norm else acted], axis=-1)


def _remember(state: TrainState, config: MaddpgConfig, packing: Packing, played: Transition, rate: Array) -> TrainState:
    learner = state.learner
    policies, rewards = normalised(config, learner.policies, learner.rewards, played, rate)
    if "observations" in config.batch_norm:
        policies = learner.policies  # whose statistics are those of the batches that they learn from
    replay = replay_buffer(config).add(state.replay, packing.pack(played))
    return state.replace(replay=replay, learner=learner.replace(policies=policies, rewards=rewards))


def _soft(slow: Any, fast: Any, tau: Array | float) -> Any:
    return jax.tree.map(lambda a, b: a + tau * (b - a), slow, fast)
