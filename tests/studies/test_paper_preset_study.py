"""The study of the paper's preset: what it varies can be trained, and its tables say what was measured."""

import jax
import numpy as np
import pytest

from scripts.studies.paper_preset.distances import between
from scripts.studies.paper_preset.page import _curve, _outcomes
from scripts.studies.paper_preset.training import cornered, curves
from scripts.studies.paper_preset.variants import LONG, SHORT, Variant, config_of
from soo_jax.rl import act, game
from soo_jax.rl.config import check_game, check_learner
from soo_jax.rl.learning import NEVER
from soo_jax.rl.networks import init_policy
from soo_jax.rl.population import History
from soo_jax.rl.presets import preset


@pytest.mark.parametrize("name", SHORT | LONG)
def test_every_variant_can_be_trained_and_plays_as_many_steps_between_updates(name):
    variant, world = (SHORT | LONG)[name], game("physical_deception")
    config = check_learner(config_of(variant))
    check_game(config, world.agents, world.scripts)
    usual = preset("paper").baseline
    assert config.iterations * config.steps_per_iteration == pytest.approx(
        variant.length * usual.iterations * usual.steps_per_iteration, rel=0.01
    )
    if "updates" not in variant.changes:
        assert config.steps_per_iteration == 100 * config.updates


def test_a_cornered_policy_does_what_the_script_does_whatever_it_sees():
    policy = jax.vmap(lambda key: init_policy(key, 6, 2, (8, 8)))(jax.random.split(jax.random.key(0), 3))
    seen = jax.random.normal(jax.random.key(1), (3, 6))
    script = game("physical_deception").scripts["corner"]
    np.testing.assert_allclose(jax.vmap(act)(cornered(policy), seen), script(policy, seen, seen[:, :3]), atol=1e-5)


def test_tables_count_the_seeds_that_solve_the_problem_and_average_curves_over_them():
    values = {
        "reward_blue": np.repeat(np.arange(10.0)[:, None], 2, axis=1),
        "saturated_blue": np.linspace([0.0, 0.0], [1.0, 1.0], 10),
        "critic_loss_blue": np.ones((10, 2)),
        "target_variance_blue": np.full((10, 2), 4.0),
    }
    told = {
        "one": {
            "about": "so",
            "metrics": {"blue_ever_at_goal": [0.94, 0.96], "blue_at_goal": [0.5, 0.8]},
            "curves": curves(History(values, np.full(2, NEVER))),
        }
    }
    assert _outcomes(told, {"one": Variant("so", {})})[-1] == "| so | 0.95 | 1 of 2 | 0.50, 0.80 | 0.00 | 1.00 | 0.25 |"
    assert _curve(told, {"one": Variant("so", {})})[-1].startswith("| so | 0.00 | 1.00 | 2.00 |")


def test_the_yardstick_compares_agents_of_different_seeds_alone():
    found = {"honest": np.array([0.0, 1.0, 3.0]), "soo": np.array([10.0, 20.0, 40.0])}
    apart = between(dict.fromkeys(found, (0, 1, 2)), found, lambda a, b: {"gap": abs(a - b)})
    assert apart["honest, honest"]["gap"] == [2.0, 1.5, 2.5]
    assert apart["honest, soo"]["gap"] == [30.0, (9 + 39) / 2, (7 + 17) / 2]
