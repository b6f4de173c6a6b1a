"""Playing: parallel episodes with exploration noise, packed into rows for the replay buffer."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any, NamedTuple

import jax
import jax.numpy as jnp
import numpy as np
from jax import Array

from soo_jax.rl.config import MaddpgConfig
from soo_jax.rl.games import Behaviour, Game, by_policy, walk_to_goal
from soo_jax.rl.networks import Policy


class Transition(NamedTuple):
    """One step of all agents; dicts are by agent, arrays have leading axes of choice.

    Attributes:
      observation, following: ``[..., O]`` before and after. action: ``[..., A]``. reward: ``[...]``.
      place: ``[..., P]``, where the agent was (``Game.place``), from which its other view can be made.
    """

    observation: dict[str, Array]
    action: dict[str, Array]
    reward: dict[str, Array]
    following: dict[str, Array]
    place: Array


class Packing(NamedTuple):
    """How a transition is laid out in a row: one array is gathered several times faster than nine."""

    like: Any
    sizes: tuple[int, ...]

    @classmethod
    def of(cls, game: Game, params: Any) -> Packing:
        """The layout for a game."""
        shapes = jax.eval_shape(lambda key: _reset(game, params, key), jax.random.key(0))
        observation, state = shapes
        place = jax.eval_shape(game.place, state)
        action = {name: jax.ShapeDtypeStruct((size,), jnp.float32) for name, (_, size) in game.sizes(params).items()}
        reward = {name: jax.ShapeDtypeStruct((), jnp.float32) for name in game.agents}
        like = Transition(observation, action, reward, observation, place)
        return cls(like, tuple(int(np.prod(leaf.shape)) for leaf in jax.tree.leaves(like)))

    @property
    def width(self) -> int:
        """Numbers in a row."""
        return sum(self.sizes)

    def pack(self, transitions: Transition) -> Array:
        """``[B, ...]`` to rows ``[B, W]``."""
        return jnp.concatenate([leaf.reshape(leaf.shape[0], -1) for leaf in jax.tree.leaves(transitions)], axis=1)

    def unpack(self, rows: Array) -> Transition:
        """Rows ``[B, W]`` to ``[B, ...]``."""
        leaves, treedef = jax.tree.flatten(self.like)
        parts = jnp.split(rows, np.cumsum(self.sizes)[:-1], axis=1)
        shaped = [part.reshape(len(rows), *leaf.shape) for part, leaf in zip(parts, leaves, strict=True)]
        return jax.tree.unflatten(treedef, shaped)


def _reset(game: Game, params: Any, key: Array) -> Any:
    return game.env.reset_env(key, params)


def behaviour_of(config: MaddpgConfig, name: str) -> Behaviour:
    """Who acts for an agent: its script or its policy."""
    return walk_to_goal if name in config.scripted else by_policy


def collect(
    game: Game,
    config: MaddpgConfig,
    params: Any,
    policies: Mapping[str, Policy],
    scale: Array,
    trust: Array,
    key: Array,
) -> Transition:
    """Every environment plays one episode from a fresh start.

    Args:
      scale: of the exploration noise of the agents that learn. trust: 1 adds it to what their policies say, 0 leaves
        the noise alone to act.

    Returns:
      Transitions ``[N * T, ...]``.
    """
    start, first, later, how = jax.random.split(key, 4)
    n = config.environments
    sizes = game.sizes(params)
    spread = scale * jnp.linspace(1 - config.noise_spread, 1 + config.noise_spread, n)[:, None]
    style = jax.random.uniform(how, (n,))

    def step(carry: Any, key: Array) -> Any:
        observation, state, noise = carry
        moves, act_key = jax.random.split(key)
        keys = dict(zip(game.agents, jax.random.split(act_key, len(game.agents)), strict=True))
        action = {}
        for name in game.agents:
            chosen = behaviour_of(config, name)(policies[name], observation[name], style[:, None])
            if name in config.learns:
                noise[name] = _ornstein_uhlenbeck(noise[name], keys[name], config)
                chosen = jnp.clip(trust * chosen + spread * noise[name], -1.0, 1.0)
            action[name] = chosen
        following, after, reward, *_ = jax.vmap(game.env.step_env, (0, 0, 0, None))(
            jax.random.split(moves, n), state, action, params
        )
        place = jax.vmap(game.place)(state)
        return (following, after, noise), Transition(observation, action, reward, following, place)

    observation, state = jax.vmap(game.env.reset_env, (0, None))(jax.random.split(start, n), params)
    calm = config.noise_sigma * jax.lax.rsqrt(1 - (1 - config.noise_theta) ** 2)  # the process' stationary deviation
    noise = {
        name: calm * jax.random.normal(jax.random.fold_in(first, i), (n, sizes[name][1]))
        for i, name in enumerate(game.agents)
        if name in config.learns
    }
    _, played = jax.lax.scan(step, (observation, state, noise), jax.random.split(later, config.steps))
    return jax.tree.map(lambda x: x.reshape(-1, *x.shape[2:]), played)


def _ornstein_uhlenbeck(noise: Array, key: Array, config: MaddpgConfig) -> Array:
    return (1 - config.noise_theta) * noise + config.noise_sigma * jax.random.normal(key, noise.shape)
