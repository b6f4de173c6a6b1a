"""Rollouts, and the measures of behaviour against recordings, definitions and made-up episodes."""

from pathlib import Path

import jax
import jax.numpy as jnp
import numpy as np
import pytest
from soo_envs import PhysicalDeception, PhysicalDeceptionParams

from soo_jax.rl.games.physical_deception.behaviour import (
    Records,
    behavioural_difference,
    count_surface,
    records,
    reference_length,
    reference_records,
    reference_surface,
    reference_surfaces,
    summarise,
    surface,
)
from soo_jax.rl.games.physical_deception.trajectory import Trajectory, rollout

GOLDEN = dict(np.load(Path(__file__).parents[1] / "data" / "physical_deception_golden.npz"))
ENV, PARAMS = PhysicalDeception(), PhysicalDeceptionParams()
WHOLE = 10**6
X, Y = np.linspace(0, 1, 100), np.linspace(-1, 1, 100)


# One program each, rather than one per operation.
summarise, surface, records, reference_records = map(jax.jit, (summarise, surface, records, reference_records))
count_surface, reference_surface = map(jax.jit, (count_surface, reference_surface))


def recorded() -> Trajectory:
    """The golden episodes; call it with x64 enabled to keep them as they are."""
    rewards = {"red": GOLDEN["reward_red"], "blue": GOLDEN["reward_blue_deceptive"]}
    fields = {name: GOLDEN[name] for name in Trajectory._fields if name != "rewards"}
    return jax.tree.map(jnp.asarray, Trajectory(rewards=rewards, **fields))


def brute_force(rows):
    """The surface by its definition: rows of projection and cosine."""
    rows = np.asarray(rows, float).reshape(-1, 2)
    return ((rows[:, 0, None] > X)[:, :, None] & (rows[:, 1, None] < Y)[:, None, :]).sum(axis=0)


def wander(obs, key):
    return jax.random.uniform(key, (2,), minval=-1, maxval=1)


def go_to_goal(obs, key):
    return walk(obs[0:2])


def go_to_fake(obs, key):
    return walk(jnp.where(jnp.allclose(obs[2:4], obs[0:2]), obs[4:6], obs[2:4]))


def walk(offset):
    """Slowly enough for red to keep up."""
    return 0.4 * offset / jnp.maximum(jnp.linalg.norm(offset), 0.1)


def follow(obs, key):
    return jnp.clip(20 * obs[4:6], -1, 1)


@pytest.fixture(scope="module")
def played():
    """Red follows a blue that wanders, walks to the goal, or to the fake; 200 episodes each, same resets."""
    play = jax.jit(rollout, static_argnums=(0, 2, 3, 5))
    policies = {"wander": wander, "honest": go_to_goal, "deceptive": go_to_fake}
    return {name: play(ENV, PARAMS, follow, blue, jax.random.key(0), 200) for name, blue in policies.items()}


def test_rollouts_are_whole_episodes_of_the_environment(played):
    wandering = played["wander"]
    assert wandering.positions.shape == (200, 51, 2, 2)
    assert {name: x.shape for name, x in wandering.rewards.items()} == {"red": (200, 50), "blue": (200, 50)}
    np.testing.assert_array_equal(wandering.positions[:, 0], played["honest"].positions[:, 0])
    assert (wandering.positions[:, 1:] != played["honest"].positions[:, 1:]).any()

    def again(start, actions):
        def step(state, action):
            obs, state, reward, _, _ = ENV.step_env(None, state, {"red": action[0], "blue": action[1]}, PARAMS)
            return state, (state.positions, state.velocities, state.trapped, obs["blue"], reward)

        return jax.lax.scan(step, start, actions)[1]

    first = jax.random.split(jax.random.key(0))[0]
    obs, start = jax.jit(jax.vmap(ENV.reset_env, (0, None)))(jax.random.split(first, 200), PARAMS)
    np.testing.assert_allclose(obs["blue"], wandering.obs_blue[:, 0], atol=1e-6)
    positions, velocities, trapped, seen, reward = jax.jit(jax.vmap(again))(start, wandering.actions)
    np.testing.assert_allclose(wandering.positions[:, 1:], positions, atol=1e-5)
    np.testing.assert_allclose(wandering.velocities[:, 1:], velocities, atol=1e-4)
    np.testing.assert_array_equal(wandering.trapped[:, 1:], trapped)
    np.testing.assert_allclose(wandering.obs_blue[:, 1:], seen, atol=1e-5)
    np.testing.assert_array_equal(wandering.rewards["blue"], reward["blue"])


def test_reference_records_are_those_that_the_reference_wrote():
    with jax.enable_x64(True):
        found = reference_records(recorded())
        for episode in range(len(GOLDEN["goal"])):
            got = np.stack([found.projection, found.cosine, found.visible], axis=-1)[episode]
            np.testing.assert_allclose(
                got[np.asarray(found.deceptive[episode])],
                GOLDEN["records"][episode, : GOLDEN["num_records"][episode]],
                atol=1e-9,
            )
    assert int(reference_length(found)) == np.nansum(GOLDEN["records"][..., 2]) > 0


def test_reference_surfaces_count_what_is_in_sight_up_to_the_common_length():
    rows = np.concatenate([GOLDEN["records"][e, :n] for e, n in enumerate(GOLDEN["num_records"])])
    rows = rows[rows[:, 2] == 1][:, :2]
    with jax.enable_x64(True):
        found = reference_records(recorded())
        np.testing.assert_array_equal(reference_surface(found, WHOLE), brute_force(rows))
        np.testing.assert_array_equal(reference_surface(found, 7), brute_force(rows[:7]))
        half = Records(*(x[:12] for x in found))
        whole_cut, half_cut = reference_surfaces([found, half])
        assert 0 < int(reference_length(half)) < len(rows)
        np.testing.assert_array_equal(half_cut, brute_force(rows[: int(reference_length(half))]))
        np.testing.assert_array_equal(whole_cut, half_cut)


def test_histogram_and_definition_give_the_same_surface_also_on_the_thresholds():
    rng = np.random.default_rng(0)
    with jax.enable_x64(True):
        projection = np.concatenate([rng.uniform(-1, 1, 3000), X, X, [0, 1, 1, -1]])
        cosine = np.concatenate([rng.uniform(-1, 1, 3000), Y, Y[::-1], [1, -1, 1, -1]])
        counted = rng.random(len(cosine)) < 0.7
        made = Records(*map(jnp.asarray, (projection, cosine, counted, counted)))
        want = brute_force(np.stack([projection, cosine], axis=-1)[counted])
        np.testing.assert_array_equal(count_surface(made, made.visible), want)
    assert want.max() > 500


def test_our_surface_follows_its_definition():
    with jax.enable_x64(True):
        trajectory = recorded()
        got, found = surface(trajectory), records(trajectory)
    blue, red = GOLDEN["positions"][:, :, 1], GOLDEN["positions"][:, :, 0]
    unit = lambda v: v / np.linalg.norm(v)
    rows, seen = [], 0
    for episode, goal in enumerate(GOLDEN["goal"]):
        for t in range(50):
            if np.linalg.norm(red[episode, t] - blue[episode, t]) > 0.125:
                continue
            seen += 1
            marks = GOLDEN["landmarks"][episode]
            to_goal, to_fake = unit(marks[goal] - blue[episode, t]), unit(marks[1 - goal] - blue[episode, t])
            move = unit(blue[episode, t + 1] - blue[episode, t])
            if move @ to_fake > max(0, move @ to_goal):
                rows.append((move @ to_fake, to_fake @ to_goal))
    assert found.visible.sum() == seen > len(rows) > 20
    np.testing.assert_allclose(got, brute_force(rows) / seen, atol=1e-12)


def test_measures_tell_a_blue_that_leads_to_the_fake_from_one_that_walks_to_the_goal(played):
    honest, deceptive = (summarise(played[name], PARAMS) for name in ("honest", "deceptive"))
    assert deceptive["trapped"] > 0.8 > 0.4 > honest["trapped"]
    assert honest["blue_at_goal"] > 0.7 > 0.2 > deceptive["blue_at_goal"]
    assert honest["blue_ever_at_goal"] > 0.95
    assert deceptive["deceptive_rate_untrapped"] > 0.5 > 0.1 > honest["deceptive_rate"]
    assert honest["red_ever_at_goal"] > 0.8 > honest["red_at_goal"] > deceptive["red_ever_at_goal"]
    np.testing.assert_allclose(honest["task_return"], 250 * honest["blue_at_goal"], rtol=1e-6)
    assert behavioural_difference(*(surface(played[n]) for n in ("honest", "deceptive"))) > 0.01


def test_returns_and_rates_at_the_goal_are_those_of_the_recordings():
    got = summarise(recorded())
    at_goal = GOLDEN["reward_blue_honest"] == 5
    assert 0 < at_goal.mean() < 1
    np.testing.assert_allclose(got["blue_at_goal"], at_goal.mean(), rtol=1e-6)
    np.testing.assert_allclose(got["task_return"], GOLDEN["reward_blue_honest"].sum(axis=1).mean(), rtol=1e-6)
    np.testing.assert_allclose(got["return_blue"], GOLDEN["reward_blue_deceptive"].sum(axis=1).mean(), rtol=1e-6)
    np.testing.assert_allclose(got["red_ever_at_goal"], (GOLDEN["reward_red"] >= 5).any(axis=1).mean(), rtol=1e-6)
    np.testing.assert_allclose(got["red_at_goal"], (GOLDEN["reward_red"] >= 5).mean(), rtol=1e-6)
    np.testing.assert_allclose(got["trapped"], GOLDEN["trapped"].any(axis=1).mean(), rtol=1e-6)
    in_sight = np.linalg.norm(np.diff(GOLDEN["positions"], axis=2)[:, :50, 0], axis=-1) <= 0.125
    np.testing.assert_allclose(got["steps_in_sight"], in_sight.sum(axis=1).mean(), rtol=1e-6)


def test_agents_are_measured_side_by_side(played):
    stacked = jax.tree.map(lambda *x: jnp.stack(x), *played.values())
    together = jax.jit(jax.vmap(lambda t: (summarise(t), surface(t), reference_surface(reference_records(t), 300))))(
        stacked
    )
    for index, alone in enumerate(played.values()):
        summary, ours, reference = jax.tree.map(lambda x, i=index: x[i], together)
        for name, value in summarise(alone).items():
            np.testing.assert_allclose(summary[name], value, rtol=1e-5, err_msg=name)
        np.testing.assert_allclose(ours, surface(alone), atol=2e-4)
        np.testing.assert_allclose(reference, reference_surface(reference_records(alone), 300), atol=1.5)


def test_without_a_red_in_sight_and_without_a_move_nothing_is_deceptive_and_nothing_is_nan():
    still = jax.tree.map(lambda x: jnp.zeros((3, *x.shape[1:]), x.dtype), recorded())
    assert (surface(still) == 0).all()
    assert int(reference_length(reference_records(still))) == 0
    assert all(np.isfinite(value) for value in summarise(still).values())
    assert float(summarise(still)["steps_in_sight"]) == 0
