"""Measures of agents, and detection."""

import jax
import numpy as np
import pytest
from soo_envs.physical_deception import BLUE

from soo_jax.rl.games.game import TINY
from soo_jax.rl.games.physical_deception.measures import evaluate, overlap_metrics, play, red_decoded
from soo_jax.rl.networks import Policy, init_policy

EPISODES = 200


@pytest.fixture(scope="module")
def red():
    return init_policy(jax.random.key(0), 6, 2, (16, 16))


@pytest.fixture(scope="module")
def blue():
    """Untrained, but quick on its feet, and with an eye for red: it does not stay in red's sight."""
    fresh = init_policy(jax.random.key(1), 10, 2, (16, 16))
    quick = jax.tree.map(lambda leaf: 3.0 * leaf, fresh.params)
    return Policy(quick, fresh.normaliser.replace(var=fresh.normaliser.var.at[6:8].set(0.005)))


def blinded(policy, entries):
    kernel = policy.params["Dense_0"]["kernel"].at[entries].set(0.0)
    dense = policy.params["Dense_0"] | {"kernel": kernel}
    return policy.replace(params=policy.params | {"Dense_0": dense})


def test_a_policy_that_cannot_see_red_or_the_trap_has_full_overlap(world, params, red, blue):
    blind = blinded(blue, slice(6, 10))
    seen = play(world, params, red, blind, jax.random.key(2), EPISODES)
    metrics, by_episode = overlap_metrics(world, params, blind, seen, jax.random.key(3))
    assert metrics["soo"] == 0 and metrics["soo_relative_untrapped"] == 0
    np.testing.assert_allclose(metrics["soo_log"], np.log(TINY), rtol=1e-5)
    assert np.nanmax(by_episode[0]) == pytest.approx(np.log(TINY), rel=1e-5)


def test_a_policy_blind_to_red_alone_differs_only_by_the_traps_flag(world, params, red, blue):
    blind = blinded(blue, slice(6, 8))
    seen = play(world, params, red, blind, jax.random.key(2), EPISODES)
    metrics, _ = overlap_metrics(world, params, blind, seen, jax.random.key(3))
    assert metrics["soo_untrapped"] == 0 < metrics["soo"]


def test_relative_overlap_cannot_be_had_by_shrinking_activations(world, params, red, blue):
    dense = {k: v * 0.1 for k, v in blue.params["Dense_0"].items()}
    shrunk = blue.replace(
        params=blue.params
        | {"Dense_0": dense, "Dense_1": dict(blue.params["Dense_1"], bias=0.1 * blue.params["Dense_1"]["bias"])}
    )
    seen = play(world, params, red, blue, jax.random.key(2), EPISODES)
    before, _ = overlap_metrics(world, params, blue, seen, jax.random.key(3))
    after, _ = overlap_metrics(world, params, shrunk, seen, jax.random.key(3))
    assert after["soo_log"] < before["soo_log"] - 4
    assert float(after["soo_relative"]) == pytest.approx(float(before["soo_relative"]), rel=1e-3)


def test_reds_place_is_decoded_from_a_policy_that_sees_it_and_not_from_a_blind_one(world, params, red, blue):
    seen = play(world, params, red, blue, jax.random.key(2), EPISODES)
    assert red_decoded(blue, seen) > 0.8
    blind = blinded(blue, slice(6, 10))
    assert red_decoded(blind, seen) < 0.5


def test_hiding_red_changes_what_blue_does_not_what_happens_else(world, params, red, blue):
    sharp = blue.replace(params=jax.tree.map(lambda leaf: 3.0 * leaf, blue.params))
    open_eyes = play(world, params, red, sharp, jax.random.key(2), EPISODES)
    shut = play(world, params, red, sharp, jax.random.key(2), EPISODES, hide=1.0)
    np.testing.assert_array_equal(open_eyes.positions[:, 0], shut.positions[:, 0])
    assert not np.allclose(open_eyes.positions[:, 2, BLUE], shut.positions[:, 2, BLUE])


def test_a_world_in_which_blue_sees_nothing_of_red_is_red_hidden(world, params, red, blue):
    shut = play(world, params, red, blue, jax.random.key(2), EPISODES, hide=1.0)
    blind = play(world, params.replace(blue_sight=0.0), red, blue, jax.random.key(2), EPISODES)
    np.testing.assert_array_equal(shut.positions, blind.positions)


def test_an_evaluation_vmaps_over_agents(world, params, red):
    blues = jax.vmap(lambda key: init_policy(key, 10, 2, (16, 16)))(jax.random.split(jax.random.key(4), 2))
    one = lambda blue: evaluate(world, params, red, blue, jax.random.key(5), EPISODES)
    found = jax.jit(jax.vmap(one))(blues)
    assert found.extras["surface"].shape == (2, 100, 100) and found.episode_soo.shape == (2, 2, EPISODES)
    alone = one(jax.tree.map(lambda leaf: leaf[1], blues))
    np.testing.assert_allclose(found.metrics["soo"][1], alone.metrics["soo"], rtol=1e-4)
