"""Recorded episodes of Physical Deception, and the rollout that records them."""

from __future__ import annotations

from collections.abc import Callable
from typing import NamedTuple

import jax
import jax.numpy as jnp
from jax import Array
from soo_envs import PhysicalDeception, PhysicalDeceptionParams

Act = Callable[[Array, Array], Array]
"""``(observation [O], key) -> action [2]`` in [-1, 1]."""


class Trajectory(NamedTuple):
    """Whole episodes of T steps, from the reset on; any leading axes in place of ``...``.

    Attributes:
      positions, velocities: ``[..., T + 1, 2, 2]``, red first. landmarks: ``[..., 2, 2]``.
      goal: ``[...]``, index of the landmark that is the goal. trapped: ``[..., T + 1]`` bool.
      rewards: ``{"red", "blue"}``, ``[..., T]`` each: of the state that the step led to.
      actions: ``[..., T, 2, 2]``, red first. obs_blue: ``[..., T + 1, 10]``, what blue saw.
    """

    positions: Array
    velocities: Array
    landmarks: Array
    goal: Array
    trapped: Array
    rewards: dict[str, Array]
    actions: Array
    obs_blue: Array


def rollout(
    env: PhysicalDeception,
    params: PhysicalDeceptionParams,
    red_policy: Act,
    blue_policy: Act,
    key: Array,
    episodes: int,
    steps: int = 50,
) -> Trajectory:
    """Plays whole episodes in parallel, without auto-reset.

    Pure; jit it with ``env``, the policies, ``episodes`` and ``steps`` static or closed over, and vmap it over params,
    keys or whatever the policies close over. Two calls with one key play from the same resets.

    Args:
      env, params: the world. red_policy, blue_policy: see ``Act``.
      key: of resets and policies. episodes: B. steps: T.

    Returns:
      A trajectory with ``[B]`` in front.
    """
    at_reset, at_steps = jax.random.split(key)
    first = jax.vmap(env.reset_env, (0, None))(jax.random.split(at_reset, episodes), params)

    def step(carry, key):
        obs, state = carry
        for_red, for_blue, for_env = jax.random.split(key, (3, episodes))
        action = {
            "red": jax.vmap(red_policy)(obs["red"], for_red),
            "blue": jax.vmap(blue_policy)(obs["blue"], for_blue),
        }
        obs, state, reward, _, _ = jax.vmap(env.step_env, (0, 0, 0, None))(for_env, state, action, params)
        record = (state.positions, state.velocities, state.trapped, obs["blue"])
        return (obs, state), (record, reward, jnp.stack([action["red"], action["blue"]], axis=1))

    (obs, start), (later, rewards, actions) = first, jax.lax.scan(step, first, jax.random.split(at_steps, steps))[1]
    at_start = (start.positions, start.velocities, start.trapped, obs["blue"])
    by_episode = lambda x: jnp.swapaxes(x, 0, 1)
    whole = [jnp.concatenate([x[:, None], by_episode(y)], axis=1) for x, y in zip(at_start, later, strict=True)]
    positions, velocities, trapped, obs_blue = whole
    return Trajectory(
        positions=positions,
        velocities=velocities,
        landmarks=start.landmarks,
        goal=start.goal,
        trapped=trapped,
        rewards=jax.tree.map(by_episode, rewards),
        actions=by_episode(actions),
        obs_blue=obs_blue,
    )
