"""The environments in the conventions of JaxMARL, for its learners and wrappers. Needs ``jaxmarl``, an optional extra.

from soo_envs import PhysicalDeception
from soo_envs.jaxmarl import JaxMARL

env = JaxMARL(PhysicalDeception())
"""

from __future__ import annotations

from functools import partial
from typing import Any

import jax
import jax.numpy as jnp
from flax import struct
from gymnax.environments import environment
from gymnax.environments import spaces as gymnax_spaces
from jax import Array
from jaxmarl.environments import multi_agent_env, spaces


@struct.dataclass
class JaxMARLState(multi_agent_env.State):
    """``done`` and ``step`` as JaxMARL has them, and the state of the environment beneath."""

    world: environment.EnvState


class JaxMARL(multi_agent_env.MultiAgentEnv):
    """A gymnax environment with observations, actions and rewards by agent as a JaxMARL ``MultiAgentEnv``.

    JaxMARL knows no params and no truncation: params are fixed when the environment is made (leaves may be traced, so
    make it inside a vmapped function to sweep over them), and the time limit ends the episode like any other end.
    ``info["truncated"]`` tells the two apart.

    Args:
      env: for instance ``PhysicalDeception()``. params: its own defaults if not given.
    """

    def __init__(self, env: environment.Environment, params: Any = None):
        self.env = env
        self.params = env.default_params if params is None else params
        actions = env.action_space(self.params).spaces
        observations = env.observation_space(self.params).spaces
        super().__init__(num_agents=len(actions))
        self.agents = list(actions)
        self.action_spaces = {agent: _box(actions[agent]) for agent in actions}
        self.observation_spaces = {agent: _box(observations[agent]) for agent in actions}

    @property
    def name(self) -> str:
        """Name of the environment beneath."""
        return self.env.name

    @property
    def agent_classes(self) -> dict[str, list[str]]:
        """Every agent is a class of its own."""
        return {agent: [agent] for agent in self.agents}

    @partial(jax.jit, static_argnums=(0,))
    def reset(self, key: Array) -> tuple[dict[str, Array], JaxMARLState]:
        """Observations ``{agent: [O]}`` and state of a fresh episode."""
        observation, world = self.env.reset_env(key, self.params)
        return observation, JaxMARLState(done=jnp.asarray(False), step=jnp.asarray(world.time), world=world)

    def step_env(
        self, key: Array, state: JaxMARLState, actions: dict[str, Array]
    ) -> tuple[dict[str, Array], JaxMARLState, dict[str, Array], dict[str, Array], dict[str, Any]]:
        """One step by ``actions {agent: [A]}``, without auto-reset."""
        observation, world, rewards, terminated, info = self.env.step_env(key, state.world, actions, self.params)
        truncated = self.env.is_truncated(world, self.params)
        done = terminated | truncated
        dones = {**dict.fromkeys(self.agents, done), "__all__": done}
        state = JaxMARLState(done=done, step=jnp.asarray(world.time), world=world)
        return observation, state, rewards, dones, {**info, "truncated": truncated}

    def get_obs(self, state: JaxMARLState) -> dict[str, Array]:
        """Observations ``{agent: [O]}`` of a state."""
        return self.env.observe(jax.random.key(0), state.world, None, self.params)

    def get_avail_actions(self, state: JaxMARLState) -> dict[str, Array]:
        """All of them, always: ones of the size of each action."""
        return {agent: jnp.ones(space.shape) for agent, space in self.action_spaces.items()}


def _box(space: gymnax_spaces.Box) -> spaces.Box:
    return spaces.Box(space.low, space.high, space.shape, space.dtype)
