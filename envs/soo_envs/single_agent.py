"""One agent of a two-agent environment as an ordinary gymnax environment, the other one driven by a given policy."""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

import jax
from flax import struct
from gymnax.environments import environment, spaces
from jax import Array

from soo_envs.auto_reset import AutoResetEnvironment

OtherPolicy = Callable[[Array, Array], Array]
"""``(observation [O], key) -> action [A]`` of the agent that does not learn."""


@struct.dataclass
class SingleAgentState(environment.EnvState):
    """State of the environment beneath, and what the other agent sees in it, ``[O]``."""

    world: environment.EnvState
    seen: Array


class SingleAgent(AutoResetEnvironment):
    """A view of ``env`` in which observation, action and reward are those of one agent.

    Params are those of ``env``, untouched, and can be swept over as before. To sweep over other policies, build the
    view inside the vmapped function, around a policy that closes over the parameters. ``info["rewards"]`` has
    everybody's.

    Args:
      env: with observations, actions and rewards by agent, two of them.
      agent: name of the one that learns. other_policy: drives the other one; see ``OtherPolicy``.

    Raises:
      ValueError: ``env`` has no such agent, or not exactly one other.
    """

    def __init__(self, env: environment.Environment, agent: str, other_policy: OtherPolicy):
        super().__init__()
        agents = list(env.action_space(env.default_params).spaces)
        if agent not in agents or len(agents) != 2:
            raise ValueError(f"agent must be one of the two of {env.name}, {' or '.join(agents)}; found {agent!r}")
        self.env, self.agent, self.other_policy = env, agent, other_policy
        self.other = agents[1 - agents.index(agent)]

    @property
    def default_params(self) -> Any:
        """Those of the environment beneath."""
        return self.env.default_params

    @property
    def name(self) -> str:
        """Name of the environment beneath and of the agent."""
        return f"{self.env.name}[{self.agent}]"

    @property
    def num_actions(self) -> int:
        """Size of the agent's action."""
        return self.action_space(self.default_params).shape[0]

    def problem(self, params: Any) -> str | None:
        """As the environment beneath."""
        return self.env.problem(params)

    def reset_env(self, key: Array, params: Any) -> tuple[Array, SingleAgentState]:
        """Resets the environment beneath."""
        observation, world = self.env.reset_env(key, params)
        return observation[self.agent], self._state(observation, world)

    def step_env(
        self, key: Array, state: SingleAgentState, action: Array, params: Any
    ) -> tuple[Array, SingleAgentState, Array, Array, dict[Any, Any]]:
        """Steps the environment beneath with ``action [A]`` and what the other policy does."""
        for_world, for_other = jax.random.split(key)
        actions = {self.agent: action, self.other: self.other_policy(state.seen, for_other)}
        observation, world, rewards, terminated, info = self.env.step_env(for_world, state.world, actions, params)
        state, info = self._state(observation, world), {**info, "rewards": rewards}
        return observation[self.agent], state, rewards[self.agent], terminated, info

    def _state(self, observation: dict[str, Array], world: environment.EnvState) -> SingleAgentState:
        return SingleAgentState(time=world.time, world=world, seen=observation[self.other])

    def observe(self, key: Array, state: SingleAgentState, action: Any, params: Any) -> Array:
        """What the agent sees."""
        return self.env.observe(key, state.world, action, params)[self.agent]

    def is_truncated(self, state: SingleAgentState, params: Any) -> Array:
        """As the environment beneath."""
        return self.env.is_truncated(state.world, params)

    def is_terminated(self, state: SingleAgentState, params: Any) -> Array:
        """As the environment beneath."""
        return self.env.is_terminated(state.world, params)

    def action_space(self, params: Any) -> spaces.Space:
        """The agent's."""
        return self.env.action_space(params).spaces[self.agent]

    def observation_space(self, params: Any) -> spaces.Space:
        """The agent's."""
        return self.env.observation_space(params).spaces[self.agent]
