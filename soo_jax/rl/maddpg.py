"""MADDPG as pure functions, the whole run one program (Lowe et al. 2017, arXiv 1706.02275).

A learner is a pytree, a run is a ``lax.scan`` over iterations, and everything vmaps: over seeds, over any float of the
config, over any number of the environment's params. In one iteration all environments play one episode, which goes
into the replay buffer on device, and every agent that learns is updated ``config.updates`` times from it.

An agent whose parameters, or whose rewards, stop being finite is frozen as it last was; others in the same stack go on.
"""

from __future__ import annotations

from collections.abc import Callable, Mapping
from typing import Any, NamedTuple

import flashbax
import jax
import jax.numpy as jnp
import optax
from flax import struct
from jax import Array

from soo_jax.rl.config import MaddpgConfig, check
from soo_jax.rl.experience import Packing, Transition, behaviour_of, collect
from soo_jax.rl.games import Game
from soo_jax.rl.networks import Critic, Normaliser, Policy, act, actor_of, init_policy
from soo_jax.rl.views import paired, read_views

NEVER = -1
_REWARD_FLOOR = 1e-2


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
    """

    learner: Learner
    replay: Any
    key: Array
    iteration: Array
    frozen_at: Array


def init_learner(game: Game, config: MaddpgConfig, params: Any, key: Array) -> Learner:
    """Fresh networks for everybody."""
    sizes = game.sizes(params)
    keys = dict(zip(game.agents, jax.random.split(key, len(game.agents)), strict=True))
    policies = {name: init_policy(keys[name], *sizes[name], config.hidden) for name in game.agents}
    width = sum(observation + action for observation, action in sizes.values())
    critics = {
        name: Critic(config.hidden).init(jax.random.fold_in(keys[name], 1), jnp.zeros(width))["params"]
        for name in config.learns
    }
    return Learner(
        policies=policies,
        targets={name: policies[name].params for name in config.learns},
        critics=critics,
        critic_targets=critics,
        policy_moments={name: _adam(config, config.policy_rate).init(policies[name].params) for name in config.learns},
        critic_moments={name: _adam(config, config.critic_rate).init(critics[name]) for name in config.learns},
        rewards={name: Normaliser.of_size() for name in game.agents},
    )


def init_state(game: Game, config: MaddpgConfig, params: Any, key: Array, learner: Learner | None = None) -> TrainState:
    """A run about to begin, its replay buffer filled for ``config.warmup`` iterations.

    Args:
      learner: what to start from; None starts from scratch, and fills the buffer with noise instead of its play.
    """
    begin, fill = jax.random.split(key)
    fresh = learner is None
    learner = init_learner(game, config, params, begin) if fresh else learner
    packing, buffer = Packing.of(game, params), replay_buffer(config)
    state = TrainState(
        learner=learner,
        replay=buffer.init(jnp.zeros(packing.width)),
        key=key,
        iteration=jnp.asarray(0),
        frozen_at=jnp.asarray(NEVER),
    )
    if not config.warmup:
        return state

    def warm(state: TrainState, i: Array) -> tuple[TrainState, None]:
        rate = 1.0 / (i + 1.0) if fresh else jnp.asarray(config.normaliser_rate)
        scale = config.noise_from * jnp.ones(())
        trust = jnp.asarray(0.0 if fresh else 1.0)
        played = collect(game, config, params, state.learner.policies, scale, trust, jax.random.fold_in(fill, i))
        return _remember(state, config, packing, played, rate), None

    return jax.lax.scan(warm, state, jnp.arange(config.warmup))[0]


def replay_buffer(config: MaddpgConfig) -> Any:
    """Uniform replay of single transitions."""
    return flashbax.make_item_buffer(
        max_length=config.capacity, min_length=1, sample_batch_size=config.batch_size, add_batches=True
    )


def iterate(game: Game, config: MaddpgConfig, params: Any, state: TrainState) -> tuple[TrainState, dict[str, Array]]:
    """One iteration: play, remember, update.

    Returns:
      The next state and scalar metrics: mean reward per step and losses of every agent.
    """
    packing = Packing.of(game, params)
    play, learn = jax.random.split(jax.random.fold_in(state.key, state.iteration))
    done = state.iteration / config.iterations
    gone = jnp.clip(done / config.noise_until, 0.0, 1.0)
    scale = config.noise_from + (config.noise_to - config.noise_from) * gone
    played = collect(game, config, params, state.learner.policies, scale, jnp.asarray(1.0), play)
    rate = jnp.maximum(config.normaliser_rate, 1.0 / (state.iteration + config.warmup + 1.0))
    after = _remember(state, config, packing, played, rate)
    ramp = jnp.clip((done + 1 / config.iterations) / jnp.maximum(config.soo_ramp, 1e-9), 0.0, 1.0)
    sample = replay_buffer(config).sample

    def step(learner: Learner, inputs: Any) -> tuple[Learner, dict[str, Array]]:
        key, turn = inputs
        pick, views = jax.random.split(key)
        batch = packing.unpack(sample(after.replay, pick).experience)
        return update(game, config, params, learner, batch, views, ramp, turn % config.delay == 0)

    inputs = (jax.random.split(learn, config.updates), jnp.arange(config.updates))
    learner, losses = jax.lax.scan(step, after.learner, inputs)
    metrics = {name: jnp.mean(value) for name, value in losses.items()}
    metrics |= {f"reward_{name}": jnp.mean(played.reward[name]) for name in game.agents}
    healthy = _all_finite((learner, list(metrics.values()))) & (state.frozen_at == NEVER)
    learner = jax.tree.map(lambda new, old: jnp.where(healthy, new, old), learner, state.learner)
    frozen_at = jnp.where(healthy | (state.frozen_at != NEVER), state.frozen_at, state.iteration)
    return after.replace(learner=learner, iteration=state.iteration + 1, frozen_at=frozen_at), metrics


Train = Callable[..., tuple[TrainState, dict[str, Array]]]


def make_train(game: Game, config: MaddpgConfig) -> Train:
    """The whole run as one jitted function.

    Returns:
      ``train(key, params=..., config=..., learner=None) -> (state, metrics [I])``. Everything vmaps:
      ``jax.vmap(train)(keys)`` trains seeds, ``jax.vmap(train, (None, 0))(key, stacked_params)`` sweeps the world,
      a config with stacked floats sweeps the learner.

    Raises:
      SooError: the config cannot be trained.
    """
    check(config)

    @jax.jit
    def train(
        key: Array, params: Any = game.env.default_params, config: MaddpgConfig = config, learner: Learner | None = None
    ) -> tuple[TrainState, dict[str, Array]]:
        state = init_state(game, config, params, key, learner)
        return jax.lax.scan(
            lambda state, _: iterate(game, config, params, state), state, None, length=config.iterations
        )

    return train


def update(
    game: Game,
    config: MaddpgConfig,
    params: Any,
    learner: Learner,
    batch: Transition,
    key: Array,
    ramp: Array,
    policy_turn: Array,
) -> tuple[Learner, dict[str, Array]]:
    """One gradient step for the critic and, on its turn, the policy of every agent that learns, then of the targets.

    Args:
      batch: transitions ``[B, ...]``. ramp: what part of the SOO weight applies. policy_turn: [] bool.
    """
    seen = {name: policy.normaliser(batch.observation[name]) for name, policy in learner.policies.items()}
    then = {name: policy.normaliser(batch.following[name]) for name, policy in learner.policies.items()}
    next_actions = {name: _target_action(config, learner, name, batch, then) for name in game.agents}
    here, there = _joint(game, seen, batch.action), _joint(game, then, next_actions)
    losses: dict[str, Array] = {}
    policies, targets = dict(learner.policies), dict(learner.targets)
    critics, critic_targets = dict(learner.critics), dict(learner.critic_targets)
    policy_moments, critic_moments = dict(learner.policy_moments), dict(learner.critic_moments)
    critic = Critic(config.hidden)
    for name in config.learns:
        scale = learner.rewards[name]
        goal = scale(batch.reward[name]) + config.gamma * critic.apply({"params": critic_targets[name]}, there)

        def critic_loss(weights: Any, goal: Array = goal) -> Array:
            return jnp.mean((critic.apply({"params": weights}, here) - goal) ** 2)

        losses[f"critic_loss_{name}"], slope = jax.value_and_grad(critic_loss)(critics[name])
        critics[name], critic_moments[name] = _stepped(
            _adam(config, config.critic_rate), critics[name], slope, critic_moments[name]
        )

        def policy_loss(weights: Any, name: str = name) -> tuple[Array, dict[str, Array]]:
            return _policy_loss(game, config, params, learner, critics[name], name, weights, seen, batch, key, ramp)

        (_, parts), slope = jax.value_and_grad(policy_loss, has_aux=True)(policies[name].params)
        losses |= parts
        moved = _stepped(_adam(config, config.policy_rate), policies[name].params, slope, policy_moments[name])
        still = (policies[name].params, policy_moments[name])
        weights, policy_moments[name] = moved if config.delay == 1 else _choose(policy_turn, moved, still)
        policies[name] = policies[name].replace(params=weights)
        targets[name] = _soft(targets[name], weights, config.tau)
        critic_targets[name] = _soft(critic_targets[name], critics[name], config.tau)
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
    critic: Any,
    name: str,
    weights: Any,
    seen: Mapping[str, Array],
    batch: Transition,
    key: Array,
    ramp: Array,
) -> tuple[Array, dict[str, Array]]:
    """Task loss -Q + penalty, and for the game's agent the SOO objective on the batch's self views."""
    chosen = actor_of(weights).apply({"params": weights}, seen[name])[0]
    actions = {**batch.action, name: chosen}
    for other in config.learns:
        if other != name:
            actions[other] = jax.lax.stop_gradient(act(learner.policies[other], batch.observation[other]))
    value = Critic(config.hidden).apply({"params": critic}, _joint(game, seen, actions))
    task = -jnp.mean(value) + config.action_penalty * jnp.mean(chosen**2)
    parts = {f"policy_loss_{name}": task}
    loss = config.task_weight * task
    if config.objective is not None and name == game.agent:
        policy = learner.policies[name].replace(params=weights)
        selves, others, mask = paired(game, params, batch.observation[name], batch.place, key, config.mismatch)
        views = read_views(policy, selves, others, mask, config.objective.reads["self_view"])
        own = dict(zip(config.objective.names, config.soo_terms, strict=True)) if config.soo_terms else None
        soo, _ = config.objective(views, own)
        parts["soo_loss"] = soo
        loss = loss + ramp * config.soo_weight * soo
    return loss, parts


def _target_action(
    config: MaddpgConfig, learner: Learner, name: str, batch: Transition, then: Mapping[str, Array]
) -> Array:
    """The next action as the critic's target imagines it: slow policies for learners, what they do for the others."""
    if name in config.learns:
        weights = learner.targets[name]
        return actor_of(weights).apply({"params": weights}, then[name])[0]
    middling = jnp.full((1,), 0.5)
    return behaviour_of(config, name)(learner.policies[name], batch.following[name], middling)


def _joint(game: Game, observations: Mapping[str, Array], actions: Mapping[str, Array]) -> Array:
    """What a centralised critic sees ``[B, I]``: everybody's normalised observations, then everybody's actions."""
    parts = [observations[name] for name in game.agents] + [actions[name] for name in game.agents]
    return jnp.concatenate(parts, axis=-1)


def _remember(
    state: TrainState, config: MaddpgConfig, packing: Packing, played: Transition, rate: Array
) -> TrainState:
    replay = replay_buffer(config).add(state.replay, packing.pack(played))
    if not config.normalise:
        return state.replace(replay=replay)
    learner = state.learner
    policies = {
        name: policy.replace(normaliser=policy.normaliser.updated(played.observation[name], rate))
        if name in config.learns
        else policy
        for name, policy in learner.policies.items()
    }
    rewards = {
        name: scale.updated(played.reward[name], rate, _REWARD_FLOOR) for name, scale in learner.rewards.items()
    }
    return state.replace(replay=replay, learner=learner.replace(policies=policies, rewards=rewards))


class _Step(NamedTuple):
    weights: Any
    moments: Any


def _adam(config: MaddpgConfig, rate: Any) -> optax.GradientTransformation:
    return optax.chain(optax.clip_by_global_norm(config.clip), optax.adam(rate))


def _stepped(optimiser: optax.GradientTransformation, weights: Any, slope: Any, moments: Any) -> _Step:
    change, moments = optimiser.update(slope, moments)
    return _Step(optax.apply_updates(weights, change), moments)


def _choose(turn: Array, yes: Any, no: Any) -> Any:
    return jax.tree.map(lambda a, b: jnp.where(turn, a, b), tuple(yes), tuple(no))


def _soft(slow: Any, fast: Any, tau: Array | float) -> Any:
    return jax.tree.map(lambda a, b: a + tau * (b - a), slow, fast)


def _all_finite(tree: Any) -> Array:
    leaves = [leaf for leaf in jax.tree.leaves(tree) if jnp.issubdtype(leaf.dtype, jnp.floating)]
    return jnp.all(jnp.stack([jnp.isfinite(leaf).all() for leaf in leaves]))
