"""Playing: parallel episodes with exploration noise, packed into rows for the replay buffer."""

from __future__ import annotations

from collections.abc import Callable, Mapping
from typing import Any, NamedTuple

import jax
import jax.numpy as jnp
import numpy as np
from jax import Array
from soo_envs.auto_reset import replace_where

from soo_jax.rl.config import LearnerConfig
from soo_jax.rl.games import Behaviour, Game
from soo_jax.rl.networks import Policy


class Transition(NamedTuple):
    """One step of all agents; dicts are by agent, arrays have leading axes of choice.

    Attributes:
      observation, following: ``[..., O]`` before and after. action: ``[..., A]``. reward: ``[...]``.
      place: ``[..., P]``, where the agent was (``Game.place``), from which its other view can be made.
      over: ``[...]``, 1 where the step ended its episode for good, so that nothing follows it; else 0.
      last: ``[...]``, 1 where the next step belongs to another episode: the game was over, or its time was up; else 0.
    """

    observation: dict[str, Array]
    action: dict[str, Array]
    reward: dict[str, Array]
    following: dict[str, Array]
    place: Array
    over: Array
    last: Array


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
        flag = jax.ShapeDtypeStruct((), jnp.float32)
        like = Transition(observation, action, reward, observation, place, flag, flag)
        return cls(like, tuple(int(np.prod(leaf.shape)) for leaf in jax.tree.leaves(like)))

    @property
    def width(self) -> int:
        """Numbers in a row."""
        return sum(self.sizes)

    def pack(self, played: Transition) -> Array:
        """``[T, N, ...]`` to rows ``[T * N, W]``."""
        leaves = jax.tree.leaves(played)
        return jnp.concatenate([leaf.reshape(leaf.shape[0] * leaf.shape[1], -1) for leaf in leaves], axis=1)

    def unpack(self, rows: Array) -> Transition:
        """Rows ``[B, W]`` to ``[B, ...]``."""
        leaves, treedef = jax.tree.flatten(self.like)
        parts = jnp.split(rows, np.cumsum(self.sizes)[:-1], axis=1)
        shaped = [part.reshape(len(rows), *leaf.shape) for part, leaf in zip(parts, leaves, strict=True)]
        return jax.tree.unflatten(treedef, shaped)


def _reset(game: Game, params: Any, key: Array) -> Any:
    return game.env.reset_env(key, params)


def behaviour_of(game: Game, config: LearnerConfig, name: str) -> Behaviour:
    """Who acts for an agent: its script or its policy."""
    return game.behaviour(dict(config.scripted).get(name))


def collect(
    game: Game,
    config: LearnerConfig,
    params: Any,
    policies: Mapping[str, Policy],
    explore: Explore,
    key: Array,
) -> Transition:
    """Every environment plays from a fresh start; agents that learn explore, the others do not.

    Where a game ends before ``config.steps``, or its time is up, a new one begins; its noise goes on.

    Returns:
      Transitions ``[T, N, ...]``.
    """
    start, later, first, how = jax.random.split(key, 4)
    n = config.environments
    style = jax.random.uniform(how, (n, 3))

    def step(carry: Any, key: Array) -> Any:
        observation, state, noise = carry
        moves, tries, again = jax.random.split(key, 3)
        chosen = {
            name: behaviour_of(game, config, name)(policies[name], observation[name], style) for name in game.agents
        }
        tried, noise = explore.step(tries, {name: chosen[name] for name in config.learns}, noise)
        action = chosen | tried
        following, after, reward, over, _ = jax.vmap(game.env.step_env, (0, 0, 0, None))(
            jax.random.split(moves, n), state, action, params
        )
        last = over | jax.vmap(game.env.is_truncated, (0, None))(after, params)
        place, flag = jax.vmap(game.place)(state), lambda x: x.astype(jnp.float32)
        played = Transition(observation, action, reward, following, place, flag(over), flag(last))
        anew = lambda last, key, params, now: replace_where(last, game.env.reset_env, (key, params), now)
        keys = jax.random.split(again, n)
        observation, after = jax.vmap(anew, (0, 0, None, 0))(last, keys, params, (following, after))
        return (observation, after, noise), played

    observation, state = jax.vmap(game.env.reset_env, (0, None))(jax.random.split(start, n), params)
    shapes = {name: (n, game.sizes(params)[name][1]) for name in config.learns}
    _, played = jax.lax.scan(
        step, (observation, state, explore.begin(first, shapes)), jax.random.split(later, config.steps)
    )
    return played


class Explore(NamedTuple):
    """How agents that learn try things out.

    Attributes:
      begin: ``(key, {agent: shape [N, A]}) -> noise``, carried through an episode.
      step: ``(key, {agent: chosen [N, A]}, noise) -> ({agent: action}, noise)``.
    """

    begin: Callable[[Array, dict[str, tuple[int, int]]], Any]
    step: Callable[[Array, dict[str, Array], Any], tuple[dict[str, Array], Any]]


def gaussian(deviation: Mapping[str, Array]) -> Explore:
    """Independent noise with each agent's standard deviations ``[A]``; the environment clips."""

    def step(key: Array, chosen: dict[str, Array], noise: None) -> Any:
        fresh = normal(key, {name: value.shape for name, value in chosen.items()})
        return {name: chosen[name] + deviation[name] * fresh[name] for name in chosen}, noise

    return Explore(lambda key, shapes: None, step)


def normal(key: Array, shapes: dict[str, tuple[int, ...]]) -> dict[str, Array]:
    """Standard normal draws for all agents from one call, which compiles several times faster than one each."""
    widths = [shape[1] for shape in shapes.values()]
    (rows,) = {shape[0] for shape in shapes.values()}
    parts = jnp.split(jax.random.normal(key, (rows, sum(widths))), np.cumsum(widths)[:-1].tolist(), axis=1)
    return dict(zip(shapes, parts, strict=True))
