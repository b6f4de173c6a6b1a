"""Independent PPO for continuous actions (Schulman et al. 2017, arXiv 1707.06347), through MADDPG's interface.

Every agent that learns has its own Gaussian policy around the actor's action, its own critic over its own
observation, and SOO terms in its loss just as in MADDPG. Nothing is kept beyond an iteration but the learner.
An agent that stops being finite is frozen as it last was.
"""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any, NamedTuple

import chex
import jax
import jax.numpy as jnp
from flax import struct
from jax import Array

from soo_jax.rl.config import PpoConfig
from soo_jax.rl.experience import Transition, collect, gaussian
from soo_jax.rl.games import Game
from soo_jax.rl.learning import NEVER, adam, flat, keep_if_finite, network_keys, normalised, ramp, soo_loss, stepped
from soo_jax.rl.networks import Critic, Normaliser, Policy, actor_of, init_policy


@struct.dataclass
class Learner:
    """All that one run has learned; what fine-tuning starts from. Dicts are by agent.

    Attributes:
      policies: of everybody, those who do not learn included.
      deviations: logarithms ``[A]`` of the standard deviations of learners' actions. critics: of learners.
      policy_moments, critic_moments: optimiser states of learners.
      rewards: normalisers ``[]`` of everybody's rewards.
    """

    policies: dict[str, Policy]
    deviations: dict[str, Array]
    critics: dict[str, Any]
    policy_moments: dict[str, Any]
    critic_moments: dict[str, Any]
    rewards: dict[str, Normaliser]


@struct.dataclass
class TrainState:
    """A run in the middle; saved and restored whole, it goes on to the same end. See ``maddpg.TrainState``."""

    learner: Learner
    key: Array
    iteration: Array
    frozen_at: Array
    base: Policy


class Sample(NamedTuple):
    """What one agent learns from, ``[B, ...]``."""

    observation: Array
    place: Array
    action: Array
    likelihood: Array
    advantage: Array
    target: Array


def init_learner(game: Game, config: PpoConfig, params: Any, key: Array) -> Learner:
    """Fresh networks for everybody."""
    sizes = game.sizes(params)
    for_policies, for_critics = network_keys(game.agents, key)
    policies = {name: init_policy(for_policies[name], *sizes[name], config.hidden) for name in game.agents}
    deviations = {name: jnp.full(sizes[name][1], jnp.log(config.deviation)) for name in config.learns}
    critics = {
        name: Critic(config.hidden).init(for_critics[name], jnp.zeros(sizes[name][0]))["params"]
        for name in config.learns
    }
    own = {name: (policies[name].params, deviations[name]) for name in config.learns}
    return Learner(
        policies=policies,
        deviations=deviations,
        critics=critics,
        policy_moments={name: adam(config, config.policy_rate).init(own[name]) for name in config.learns},
        critic_moments={name: adam(config, config.critic_rate).init(critics[name]) for name in config.learns},
        rewards={name: Normaliser.of_size() for name in game.agents},
    )


def init_state(
    game: Game,
    config: PpoConfig,
    params: Any,
    key: Array,
    learner: Learner | None = None,
    others: Mapping[str, Policy] | None = None,
) -> TrainState:
    """A run about to begin; see ``maddpg.init_state``."""
    begin, run = jax.random.split(key)
    learner = init_learner(game, config, params, begin) if learner is None else learner
    learner = learner.replace(policies={**learner.policies, **(others or {})})
    return TrainState(learner, run, jnp.asarray(0), jnp.asarray(NEVER), learner.policies[game.agent])


def iterate(game: Game, config: PpoConfig, params: Any, state: TrainState) -> tuple[TrainState, dict[str, Array]]:
    """One iteration: play, then learn from what was played.

    Returns:
      The next state and scalar metrics: mean reward per step and losses of every agent.
    """
    play, learn = jax.random.split(jax.random.fold_in(state.key, state.iteration))
    learner, samples, played, later = experience(game, config, params, state, play)
    weight = ramp(config, state.iteration) * config.soo_weight

    def step(learner: Learner, inputs: tuple[Array, Array]) -> tuple[Learner, dict[str, Array]]:
        rows, key = inputs
        batch = {name: jax.tree.map(lambda x: x[rows], sample) for name, sample in samples.items()}
        return update(game, config, params, learner, state.base, batch, key, weight)

    turns, size = config.epochs * config.minibatches, config.steps_per_iteration // config.minibatches
    draw, views = jax.random.split(learn)
    # With replacement: a shuffle sorts, which takes longer than the gradients of these small networks.
    rows = jax.random.randint(draw, (turns, size), 0, config.steps_per_iteration)
    learner, losses = jax.lax.scan(step, learner, (rows, jax.random.split(views, turns)))
    seeing = lambda name, policy: policy.replace(normaliser=later[name])
    learner = learner.replace(policies={name: seeing(name, policy) for name, policy in learner.policies.items()})
    metrics = {name: jnp.mean(value) for name, value in losses.items()}
    metrics |= {f"reward_{name}": jnp.mean(played.reward[name]) for name in game.agents}
    learner, frozen_at = keep_if_finite(learner, state.learner, metrics, state.frozen_at, state.iteration)
    return state.replace(learner=learner, iteration=state.iteration + 1, frozen_at=frozen_at), metrics


def experience(
    game: Game, config: PpoConfig, params: Any, state: TrainState, key: Array
) -> tuple[Learner, dict[str, Sample], Transition, dict[str, Normaliser]]:
    """Plays an episode in every environment.

    Returns:
      The learner, its reward scales moved; what each agent learns from, ``[B, ...]``; what was played ``[T, N, ...]``;
      and everybody's normalisers of observations for the next iteration. Until then policies see as they saw while
      they played: a normaliser that moved in between would change how likely the actions were.
    """
    learner = state.learner
    explore = gaussian({name: jnp.exp(value) for name, value in learner.deviations.items()})
    played = collect(game, config, params, learner.policies, explore, key)
    rate = jnp.maximum(config.normaliser_rate, 1.0 / (state.iteration + 1.0))
    moved, rewards = normalised(config, learner.policies, learner.rewards, played, rate)
    learner = learner.replace(rewards=rewards)
    samples = {name: _sample(config, learner, name, played) for name in config.learns}
    return learner, samples, played, {name: policy.normaliser for name, policy in moved.items()}


def update(
    game: Game,
    config: PpoConfig,
    params: Any,
    learner: Learner,
    base: Policy,
    batch: Mapping[str, Sample],
    key: Array,
    soo_weight: Array,
) -> tuple[Learner, dict[str, Array]]:
    """One gradient step of policy and critic of every agent that learns, from samples ``[B, ...]``.

    Args:
      base: the game's agent before this run.
    """
    for name in config.learns:  # a column beside a row would broadcast to a square, and train on it
        chex.assert_rank(batch[name].observation, 2)
        chex.assert_equal_shape([batch[name].likelihood, batch[name].advantage, batch[name].target])
    policies, deviations, critics = dict(learner.policies), dict(learner.deviations), dict(learner.critics)
    policy_moments, critic_moments = dict(learner.policy_moments), dict(learner.critic_moments)
    losses: dict[str, Array] = {}
    for name in config.learns:
        sample, policy = batch[name], policies[name]

        def policy_loss(own: Any, name: str = name, sample: Sample = sample, policy: Policy = policy) -> Any:
            return _policy_loss(game, config, params, policy, base, own, name, sample, key, soo_weight)

        own = (policy.params, deviations[name])
        (_, parts), slope = jax.value_and_grad(policy_loss, has_aux=True)(own)
        own, policy_moments[name] = stepped(adam(config, config.policy_rate), own, slope, policy_moments[name])
        policies[name] = policy.replace(params=own[0])
        deviations[name] = jnp.maximum(own[1], jnp.log(config.least_deviation))
        seen = policy.normaliser(sample.observation)

        def critic_loss(weights: Any, seen: Array = seen, sample: Sample = sample) -> Array:
            return jnp.mean((Critic(config.hidden).apply({"params": weights}, seen) - sample.target) ** 2)

        losses[f"critic_loss_{name}"], slope = jax.value_and_grad(critic_loss)(critics[name])
        critics[name], critic_moments[name] = stepped(
            adam(config, config.critic_rate), critics[name], slope, critic_moments[name]
        )
        losses |= parts
    learner = learner.replace(
        policies=policies,
        deviations=deviations,
        critics=critics,
        policy_moments=policy_moments,
        critic_moments=critic_moments,
    )
    return learner, losses


def _policy_loss(
    game: Game,
    config: PpoConfig,
    params: Any,
    policy: Policy,
    base: Policy,
    own: tuple[Any, Array],
    name: str,
    sample: Sample,
    key: Array,
    soo_weight: Array,
) -> tuple[Array, dict[str, Array]]:
    """Clipped surrogate and entropy, and for the game's agent the SOO objective on the batch's self views."""
    weights, deviation = own
    likelihood = _log_likelihood(weights, deviation, policy.normaliser(sample.observation), sample.action)
    ratio = jnp.exp(likelihood - sample.likelihood)
    near = jnp.clip(ratio, 1 - config.ratio_clip, 1 + config.ratio_clip)
    advantage = (sample.advantage - sample.advantage.mean()) / (sample.advantage.std() + 1e-8)
    task = -jnp.mean(jnp.minimum(ratio * advantage, near * advantage)) - config.entropy * jnp.sum(deviation)
    parts = {f"policy_loss_{name}": task}
    loss = config.task_weight * task
    if config.objective is not None and name == game.agent:
        moved = policy.replace(params=weights)
        soo, terms = soo_loss(game, config, params, moved, base, sample.observation, sample.place, key)
        parts |= terms
        loss = loss + soo_weight * soo
    return loss, parts


def _sample(config: PpoConfig, learner: Learner, name: str, played: Transition) -> Sample:
    """Advantages by generalised advantage estimation (arXiv 1506.02438).

    Behind the end of a game nothing is to be had. A game that is cut off, by its own limit of steps or by the
    rollout's last one, would have gone on: what follows is worth what the critic says, and no step of another game is.
    """
    policy, critic = learner.policies[name], learner.critics[name]
    observation, action = played.observation[name], played.action[name]
    reward = learner.rewards[name](played.reward[name])
    worth = lambda seen: Critic(config.hidden).apply({"params": critic}, policy.normaliser(seen))
    value = worth(observation)
    surprise = reward + config.gamma * (1.0 - played.over) * worth(played.following[name]) - value

    def back(later: Array, now: tuple[Array, Array]) -> tuple[Array, Array]:
        advantage = now[0] + config.gamma * config.trace * (1.0 - now[1]) * later
        return advantage, advantage

    _, advantage = jax.lax.scan(back, jnp.zeros_like(surprise[0]), (surprise, played.last), reverse=True)
    seen = policy.normaliser(observation)
    likelihood = _log_likelihood(policy.params, learner.deviations[name], seen, action)
    whole = Sample(observation, played.place, action, likelihood, advantage, advantage + value)
    return jax.tree.map(flat, whole)


def _log_likelihood(weights: Any, deviation: Array, seen: Array, action: Array) -> Array:
    """Of actions ``[..., A]`` before the environment clips them, up to a constant."""
    mean, _ = actor_of(weights).apply({"params": weights}, seen)
    return -jnp.sum(0.5 * ((action - mean) / jnp.exp(deviation)) ** 2 + deviation, axis=-1)
