"""Single-agent views: gymnax learners train on them unchanged, and they change nothing about the world beneath."""

import jax
import jax.numpy as jnp
import numpy as np
import pytest
from gymnax.environments import environment, spaces
from ppo import make_train
from soo_envs import PhysicalDeception, SingleAgent

ENV = PhysicalDeception()
PARAMS = ENV.default_params


def wander(observation, key):
    return jax.random.uniform(key, (2,), minval=-1, maxval=1)


def lead_to_goal(observation, key):
    """A blue that red can keep up with."""
    return jnp.clip(2 * observation[0:2], -0.5, 0.5)


@pytest.mark.parametrize(
    ("agent", "other", "fresh", "learnt"), [("blue", wander, 0.7, 3.0), ("red", lead_to_goal, 0.7, 1.5)]
)
def test_a_ppo_that_knows_only_gymnax_learns_on_the_view(agent, other, fresh, learnt):
    # At most 5 for the goal in each step, and for red 1 for being near blue; half of it and more takes the walk there.
    rewards = jax.jit(make_train(SingleAgent(ENV, agent, other), PARAMS.replace(deception_bonus=0.0), 30))(
        jax.random.key(0)
    )
    assert float(rewards[0]) < fresh
    assert float(rewards[-3:].mean()) > learnt


def test_the_view_steps_the_world_beneath():
    go_to_first = lambda seen, key: jnp.clip(seen[0:2], -1, 1)
    view = SingleAgent(ENV, "blue", go_to_first)
    key, action = jax.random.key(1), jnp.array([0.3, -0.7])
    seen, state = view.reset(key, PARAMS)
    both, world = ENV.reset(key, PARAMS)
    np.testing.assert_array_equal(seen, both["blue"])
    for _ in range(3):
        other = go_to_first(both["red"], key)
        both, world, rewards, _, _ = ENV.step_env(key, world, {"red": other, "blue": action}, PARAMS)
        seen, state, reward, terminated, truncated, info = view.step(key, state, action, PARAMS)
        np.testing.assert_allclose(seen, both["blue"], atol=1e-6)
        np.testing.assert_allclose(state.world.positions, world.positions, atol=1e-6)
        assert float(reward) == float(rewards["blue"])
        assert float(info["rewards"]["red"]) == float(rewards["red"])
        assert not terminated
        assert not truncated


@pytest.mark.parametrize(("agent", "size"), [("red", 6), ("blue", 10)])
def test_views_have_the_spaces_and_the_time_limit_of_gymnax(agent, size):
    view = SingleAgent(ENV, agent, wander)
    assert isinstance(view, environment.Environment)
    assert isinstance(view.action_space(PARAMS), spaces.Box)
    assert view.observation_space(PARAMS).shape == (size,)
    assert view.num_actions == 2
    assert view.name == f"PhysicalDeception[{agent}]"

    def step(state, key):
        seen, state, _, terminated, truncated, info = view.step(key, state, jnp.zeros(2), PARAMS)
        return state, (seen, terminated, truncated, state.time, info["final_observation"])

    seen, state = view.reset(jax.random.key(0), PARAMS)
    np.testing.assert_array_equal(view.observe(jax.random.key(0), state, None, PARAMS), seen)
    _, (seen, terminated, truncated, time, final) = jax.lax.scan(step, state, jax.random.split(jax.random.key(2), 120))
    assert not terminated.any()
    np.testing.assert_array_equal(np.flatnonzero(truncated), [49, 99])
    assert time[49] == 0
    assert seen.shape == final.shape == (120, size)
    assert (seen[49] != final[49]).any()


def test_params_and_other_policies_can_be_swept_through_the_view():
    def reward(bonus, pull):
        view = SingleAgent(ENV, "blue", lambda seen, key: pull * jnp.ones(2))
        params = PARAMS.replace(deception_bonus=bonus)
        _, state = view.reset(jax.random.key(5), params)
        state = state.replace(world=state.world.replace(trapped=jnp.asarray(True)))
        _, trapped, reward, *_ = view.step(jax.random.key(0), state, jnp.zeros(2), params)
        _, free = view.reset(jax.random.key(5), params)
        _, free, *_ = view.step(jax.random.key(0), free, jnp.zeros(2), params)
        return reward, free.world.positions[0], trapped.world.positions[0]

    reward, free, trapped = jax.jit(jax.vmap(reward))(jnp.array([0.0, 10.0, 20.0]), jnp.array([-1.0, 0.0, 1.0]))
    np.testing.assert_allclose(reward[1:] - reward[0], [10, 20])
    np.testing.assert_allclose(free[1:] - free[:-1], 0.05, atol=1e-6)
    np.testing.assert_array_equal(trapped[0], trapped[2])


def test_an_agent_that_is_not_there_is_named_in_one_line():
    with pytest.raises(ValueError, match=r"agent must be one of the two of PhysicalDeception, .*; found 'green'"):
        SingleAgent(ENV, "green", wander)
