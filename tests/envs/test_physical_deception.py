"""Physical Deception against recorded trajectories of the reference, and its own promises."""

from pathlib import Path

import jax
import jax.numpy as jnp
import numpy as np
import pytest
from soo_envs import (
    PhysicalDeception,
    PhysicalDeceptionParams,
    PhysicalDeceptionState,
    exact_walls,
    inner_walls,
    other_view,
    self_view,
)

GOLDEN = dict(np.load(Path(__file__).parents[1] / "data" / "physical_deception_golden.npz"))
ENV, PARAMS = PhysicalDeception(), PhysicalDeceptionParams()


def replay(dtype, walls):
    """All golden episodes from their first state under their actions: states, observations, rewards."""
    env = PhysicalDeception(walls)
    cast = lambda name: jnp.asarray(GOLDEN[name], dtype)
    start = PhysicalDeceptionState(
        time=jnp.zeros(len(GOLDEN["goal"]), int),
        positions=cast("positions")[:, 0],
        velocities=cast("velocities")[:, 0],
        landmarks=cast("landmarks"),
        goal=jnp.asarray(GOLDEN["goal"]),
        trapped=jnp.asarray(GOLDEN["trapped"][:, 0]),
    )
    key = jax.random.key(0)

    def episode(state, actions):
        def step(state, action):
            obs, state, reward, _, _ = env.step_env(key, state, {"red": action[0], "blue": action[1]}, PARAMS)
            honest = env.rewards(state, PARAMS.replace(deception_bonus=0.0))
            return state, (state, obs, reward, honest["blue"])

        return env.observe(key, state, None, PARAMS), jax.lax.scan(step, state, actions)[1]

    return jax.jit(jax.vmap(episode))(start, cast("actions"))


@pytest.mark.parametrize("walls", [exact_walls, inner_walls])
@pytest.mark.parametrize(("dtype", "tolerance"), [("float64", 1e-9), ("float32", 1e-4)])
def test_recorded_trajectories_are_matched_at_every_step(walls, dtype, tolerance):
    with jax.enable_x64(dtype == "float64"):
        first, (states, obs, rewards, honest) = replay(dtype, walls)
        close = lambda got, name: np.testing.assert_allclose(got, GOLDEN[name][:, 1:], atol=tolerance, rtol=0)
        close(states.positions, "positions")
        close(states.velocities, "velocities")
        close(obs["red"], "obs_red")
        close(obs["blue"], "obs_blue")
        np.testing.assert_array_equal(states.trapped, GOLDEN["trapped"][:, 1:])
        for got, name in (
            (rewards["red"], "reward_red"),
            (rewards["blue"], "reward_blue_deceptive"),
            (honest, "reward_blue_honest"),
        ):
            np.testing.assert_array_equal(got, GOLDEN[name])
        np.testing.assert_allclose(first["red"], GOLDEN["obs_red"][:, 0], atol=tolerance)
        np.testing.assert_allclose(first["blue"], GOLDEN["obs_blue"][:, 0], atol=tolerance)
        assert GOLDEN["trapped"].any()


@pytest.fixture(scope="module")
def resets():
    keys = jax.random.split(jax.random.key(0), 20_000)
    return jax.jit(jax.vmap(lambda key: ENV.reset(key, PARAMS)))(keys)


def test_resets_follow_their_distributions(resets):
    obs, state = resets
    red, blue = state.positions[:, 0], state.positions[:, 1]
    edge = 1 - PARAMS.spawn_margin
    for uniform in (red, state.landmarks[:, 0], state.landmarks[:, 1]):
        assert np.abs(uniform).max() <= edge
        np.testing.assert_allclose(uniform.mean(axis=0), 0, atol=0.02)
        np.testing.assert_allclose(uniform.var(axis=0), (2 * edge) ** 2 / 12, rtol=0.03)
    assert np.abs(blue).max() <= edge
    away = np.linalg.norm(blue - red, axis=-1)
    inside = (np.abs(red) < edge - PARAMS.sight).all(axis=-1)
    assert away.max() <= PARAMS.sight + 1e-6
    np.testing.assert_allclose(
        np.quantile(away[inside], [0.25, 0.5, 0.75]), PARAMS.sight * np.array([1, 2, 3]) / 4, atol=0.003
    )
    assert abs(float(state.goal.mean()) - 0.5) < 0.02
    assert (state.velocities == 0).all()
    assert not self_view(obs["blue"]).any()


def test_red_can_start_trapped_and_only_at_the_fake(resets):
    _, state = resets
    fake = jnp.take_along_axis(state.landmarks, (1 - state.goal)[:, None, None], 1)[:, 0]
    near = np.linalg.norm(state.positions[:, 0] - fake, axis=-1) < PARAMS.reach
    np.testing.assert_array_equal(state.trapped, near)
    assert 0 < near.mean() < 0.1


def test_episodes_are_truncated_after_fifty_steps_and_never_terminate():
    def step(carry, key):
        state, _ = carry
        action = {who: jax.random.uniform(key, (2,), minval=-1, maxval=1) for who in ("red", "blue")}
        _, state, _, terminated, truncated, info = ENV.step(key, state, action, PARAMS)
        return (state, truncated), (terminated, truncated, state.time, info["final_observation"]["blue"])

    _, state = ENV.reset(jax.random.key(1), PARAMS)
    _, (terminated, truncated, time, final) = jax.lax.scan(
        step, (state, jnp.asarray(False)), jax.random.split(jax.random.key(2), 120)
    )
    assert not terminated.any()
    np.testing.assert_array_equal(np.flatnonzero(truncated), [49, 99])
    assert time[49] == 0
    assert np.isfinite(final).all()


def test_every_constant_can_be_swept_in_one_program():
    def total(sight, bonus):
        params = PARAMS.replace(sight=sight, deception_bonus=bonus)
        _, state = ENV.reset(jax.random.key(3), params)
        state = state.replace(trapped=jnp.asarray(True))
        zero = {"red": jnp.zeros(2), "blue": jnp.zeros(2)}
        return ENV.step_env(jax.random.key(4), state, zero, params)[2]["blue"]

    got = jax.jit(jax.vmap(total))(jnp.array([0.1, 0.2, 0.5]), jnp.array([0.0, 10.0, 20.0]))
    np.testing.assert_allclose(got[1:] - got[0], [10, 20], atol=5.001)
    assert float(got[2] - got[1]) in (5.0, 10.0, 15.0)


def test_blues_sight_changes_what_blue_sees_of_red_and_nothing_else():
    keys = jax.random.split(jax.random.key(5), 200)
    as_it_is, hidden, wide = (
        jax.vmap(ENV.reset_env, (0, None))(keys, PARAMS.replace(sight=0.5, blue_sight=times))
        for times in (1.0, 0.0, 2.0)
    )
    for seen, state in (hidden, wide):
        np.testing.assert_array_equal(state.positions, as_it_is[1].positions)
        np.testing.assert_array_equal(seen["red"], as_it_is[0]["red"])
    assert self_view(hidden[0]["blue"]).all()
    np.testing.assert_array_equal(wide[0]["blue"], as_it_is[0]["blue"])  # blue begins within the sight of all
    apart = PhysicalDeceptionState(
        time=jnp.asarray(0),
        positions=jnp.array([[0.0, 0.0], [0.6, 0.0]]),
        velocities=jnp.zeros((2, 2)),
        landmarks=jnp.zeros((2, 2)),
        goal=jnp.asarray(0),
        trapped=jnp.asarray(False),
    )
    seen = ENV.observe(jax.random.key(0), apart, None, PARAMS.replace(sight=0.5, blue_sight=2.0))
    np.testing.assert_allclose(seen["blue"][6:8], [-0.6, 0.0])
    np.testing.assert_array_equal(seen["red"][4:6], 0.0)


def test_a_trapped_red_stands_still_from_the_next_step_on():
    state = PhysicalDeceptionState(
        time=jnp.asarray(0),
        positions=jnp.array([[0.0, 0.0], [0.5, 0.5]]),
        velocities=jnp.array([[1.0, 0.0], [0.0, 0.0]]),
        landmarks=jnp.array([[0.2, 0.0], [0.8, 0.8]]),
        goal=jnp.asarray(1),
        trapped=jnp.asarray(False),
    )
    push = {"red": jnp.ones(2), "blue": jnp.zeros(2)}
    _, entered, rewards, _, _ = ENV.step_env(jax.random.key(0), state, push, PARAMS)
    assert bool(entered.trapped)
    assert float(rewards["blue"]) == 10
    assert (entered.positions[0] != state.positions[0]).any()
    _, stuck, _, _, _ = ENV.step_env(jax.random.key(0), entered, push, PARAMS)
    np.testing.assert_array_equal(stuck.positions[0], entered.positions[0])


def test_other_views_show_a_red_in_sight_and_no_trap():
    blue = jnp.array([0.82, -0.3])
    observation = jnp.arange(10.0).at[6:8].set(0.0)
    views = jax.vmap(lambda key: other_view(key, observation, blue, PARAMS))(jax.random.split(jax.random.key(0), 500))
    assert bool(self_view(observation))
    assert not self_view(views).any()
    np.testing.assert_array_equal(views[:, :6], jnp.broadcast_to(observation[:6], (500, 6)))
    assert (views[:, 8:] == 0).all()
    assert np.linalg.norm(views[:, 6:8], axis=-1).max() <= PARAMS.sight + 1e-6
    assert (blue + views[:, 6:8] <= 1 - PARAMS.spawn_margin + 1e-6).all()


def test_other_views_can_keep_the_traps_flag():
    observation = jnp.arange(10.0).at[6:8].set(0.0)
    view = lambda keeps: other_view(jax.random.key(0), observation, jnp.zeros(2), PARAMS.replace(other_trap=keeps))
    np.testing.assert_array_equal(view(1.0)[8:], observation[8:])
    np.testing.assert_array_equal(view(1.0)[:8], view(0.0)[:8])


def test_walls_hold_agents_inside_and_both_forms_agree_there():
    spots = jax.random.uniform(jax.random.key(0), (2000, 2), minval=-0.99, maxval=0.99)
    np.testing.assert_allclose(exact_walls(spots, PARAMS), inner_walls(spots, PARAMS), rtol=1e-5, atol=1e-6)
    outside = jnp.array([[1.05, 0.9], [1.3, 0.0], [-1.05, -1.02]])
    assert np.isfinite(exact_walls(outside, PARAMS)).all()
    assert float(inner_walls(jnp.array([0.95, 0.0]), PARAMS)[0]) < -10


def test_the_environments_know_nothing_of_the_library():
    import ast

    for path in (Path(__file__).parents[2] / "envs").rglob("*.py"):
        for node in ast.walk(ast.parse(path.read_text())):
            names = [a.name for a in node.names] if isinstance(node, ast.Import) else []
            names += [node.module or ""] if isinstance(node, ast.ImportFrom) else []
            assert not any(name.split(".")[0] == "soo_jax" for name in names), path
