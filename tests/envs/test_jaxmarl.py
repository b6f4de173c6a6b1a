"""The adapter to JaxMARL: its base class, its wrappers and its auto-reset, on our worlds unchanged."""

import jax
import jax.numpy as jnp
import numpy as np
import pytest
from soo_envs import PhysicalDeception, Signalling

pytest.importorskip("jaxmarl", reason="jaxmarl is not installed")

from jaxmarl.environments.multi_agent_env import MultiAgentEnv
from jaxmarl.wrappers.baselines import LogWrapper
from soo_envs.jaxmarl import JaxMARL


@pytest.mark.parametrize(("world", "steps"), [(PhysicalDeception(), 50), (Signalling(), 10)])
def test_episodes_under_a_wrapper_of_jaxmarl_are_those_of_the_world_beneath(world, steps):
    env, params = JaxMARL(world), world.default_params
    assert isinstance(env, MultiAgentEnv)
    logged = LogWrapper(env)

    def act(key):
        keys = jax.random.split(key, env.num_agents)
        return {who: env.action_space(who).sample(k) for who, k in zip(env.agents, keys, strict=True)}

    def wrapped_step(state, key):
        obs, state, reward, dones, info = logged.step(jax.random.key(7), state, act(key))
        return state, (obs, reward, dones, info["truncated"], info["returned_episode_returns"])

    def plain_step(state, key):
        obs, state, reward, _, _ = world.step_env(key, state, act(key), params)
        return state, (obs, reward)

    start, keys = jax.random.key(1), jax.random.split(jax.random.key(2), steps)
    first, state = logged.reset(start)
    _, (obs, reward, dones, truncated, returns) = jax.jit(lambda s: jax.lax.scan(wrapped_step, s, keys))(state)
    want, inner = world.reset_env(start, params)
    _, (want_obs, want_reward) = jax.jit(lambda s: jax.lax.scan(plain_step, s, keys))(inner)
    for index, who in enumerate(env.agents):
        np.testing.assert_allclose(first[who], want[who], atol=1e-6)
        np.testing.assert_allclose(obs[who][:-1], want_obs[who][:-1], atol=1e-5)  # the last one is after auto-reset
        np.testing.assert_allclose(reward[who], want_reward[who], atol=1e-5)
        np.testing.assert_array_equal(np.flatnonzero(dones[who]), [steps - 1])
        np.testing.assert_allclose(returns[-1, index], want_reward[who].sum(), rtol=1e-4, atol=1e-4)
        assert env.observation_space(who).shape == first[who].shape
    assert (obs[env.agents[1]][-1] != want_obs[env.agents[1]][-1]).any()
    np.testing.assert_array_equal(dones["__all__"], truncated)


def test_a_state_tells_observations_time_and_classes():
    env = JaxMARL(PhysicalDeception())
    obs, state = env.reset(jax.random.key(0))
    again = env.get_obs(state)
    assert env.agents == ["red", "blue"] == list(env.agent_classes)
    for who in env.agents:
        np.testing.assert_allclose(again[who], obs[who], atol=1e-6)
        assert env.get_avail_actions(state)[who].shape == (2,)
    _, state, _, _, _ = env.step(jax.random.key(0), state, {who: jnp.zeros(2) for who in env.agents})
    assert int(state.step) == 1
    assert not state.done


def test_params_can_be_swept_by_making_the_environment_inside():
    def reward(bonus):
        world = PhysicalDeception()
        env = JaxMARL(world, world.default_params.replace(deception_bonus=bonus))
        _, state = env.reset(jax.random.key(0))
        state = state.replace(world=state.world.replace(trapped=jnp.asarray(True)))
        return env.step_env(jax.random.key(0), state, {who: jnp.zeros(2) for who in env.agents})[2]["blue"]

    got = jax.vmap(reward)(jnp.array([0.0, 10.0, 20.0]))
    np.testing.assert_allclose(got - got[0], [0, 10, 20])
