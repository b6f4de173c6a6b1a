"""SOO for policies: the terms of the language models on the hidden layers of a policy."""

import jax
import jax.numpy as jnp
import numpy as np
import pytest

import soo_jax as soo
from soo_jax.errors import SooError
from soo_jax.overlap import mse, overlap, weighted
from soo_jax.rl import action, hidden, make_train, read, soo_objective
from soo_jax.rl.learning import soo_loss
from soo_jax.rl.networks import PolicyProbe, init_policy
from soo_jax.rl.views import paired, read_views


@pytest.fixture(scope="module")
def met(world, params):
    """Observations and places of blue, half of them self views."""
    keys = jax.random.split(jax.random.key(3), 64)
    seen, state = jax.vmap(world.env.reset_env, (0, None))(keys, params)
    seen = seen["blue"].at[::2, 6:8].set(0.0).at[:, 8:10].set(1.0)
    return seen, jax.vmap(world.place)(state)


def test_pairs_differ_in_red_and_the_trap_alone(world, params, met):
    selves, others, mask = paired(world, params, *met, jax.random.key(0))
    np.testing.assert_array_equal(mask, np.arange(64) % 2 == 0)
    np.testing.assert_array_equal(selves[:, :6], others[:, :6])
    assert (np.abs(others[mask, 6:8]).max(axis=1) > 0).all() and (others[:, 8:] == 0).all()
    _, wrong, _ = paired(world, params, *met, jax.random.key(0), mismatch=1.0)
    np.testing.assert_array_equal(wrong[1:], others[:-1])


def test_the_loss_is_the_mean_squared_difference_of_hidden_layers_over_self_views(world, params, met, small):
    policy = init_policy(jax.random.key(1), 10, 2, (16, 16))
    loss, _ = soo_loss(world, small, params, policy, policy, *met, jax.random.key(0))
    selves, others, mask = paired(world, params, *met, jax.random.key(0))
    here, there = (read(policy, side, (hidden(0), hidden(1))) for side in (selves, others))
    squared = [np.mean((np.asarray(here[p]) - np.asarray(there[p])) ** 2, axis=1) for p in here]
    assert loss == pytest.approx(np.mean(squared, axis=0)[np.asarray(mask)].mean(), rel=1e-5)


def test_directions_hold_one_side_still(world, params, met):
    policy = init_policy(jax.random.key(1), 10, 2, (16, 16))
    selves, others, mask = paired(world, params, *met, jax.random.key(0))
    objective = soo_objective()

    def loss(weights_of_terms, here, there):
        views = read_views(policy, policy, here, there, mask, objective.reads)
        return objective(views, dict(zip(objective.names, weights_of_terms, strict=True)))[0]

    for terms, moved_here, moved_there in (
        ((1.0, 0, 0), True, True),
        ((0, 1.0, 0), False, True),
        ((0, 0, 1.0), True, False),
    ):
        slope = jax.grad(loss, argnums=(1, 2))(terms, selves, others)
        assert [bool(np.abs(s).max() > 0) for s in slope] == [moved_here, moved_there]


def test_terms_about_the_agent_before_fine_tuning_are_served(world, params, met, small):
    """The same terms as for language models: what each reads is computed here by hand."""
    before, now = (init_policy(jax.random.key(seed), 10, 2, (16, 16)) for seed in (1, 2))
    selves, others, mask = paired(world, params, *met, jax.random.key(0))
    at = lambda policy, seen: np.asarray(read(policy, seen, (hidden(),))[hidden()])
    rows = lambda x, y: np.mean((x - y) ** 2, axis=-1)
    chosen = np.asarray(mask)
    anchor = at(before, selves)
    expected = {
        "retain": rows(anchor, at(now, selves)).mean(),
        "anchored": sum(rows(anchor, at(now, side))[chosen].mean() for side in (selves, others)) / 2,
    }
    for name, term in (
        ("retain", soo.retain(mse, at=hidden(), tokens=None)),
        ("anchored", soo.anchored(mse, at=hidden(), tokens=None)),
    ):
        config = small.replace(objective=weighted(**{name: (1.0, term)}), soo_terms=(1.0,))
        loss, _ = soo_loss(world, config, params, now, before, *met, jax.random.key(0))
        assert float(loss) == pytest.approx(float(expected[name]), rel=1e-5), name
        start, _ = make_train(world, config.replace(iterations=1))(jax.random.key(0))
        tuned = config.replace(iterations=2, task_weight=0.0, soo_weight=1.0)
        state, metrics = make_train(world, tuned)(jax.random.key(1), learner=start.learner)
        assert np.isfinite(metrics["soo_loss"]).all()
        kept = jax.tree.map(np.array_equal, state.base, start.learner.policies["blue"])
        assert all(jax.tree.leaves(kept)), "it goes on being compared with what it began as"


def test_a_distance_of_ones_own_serves_policies_and_language_models_alike(world, params, met, small):
    calls = []

    def strange(x, y, mask):
        calls.append(x.shape)
        return jnp.sum(jnp.abs(x - y))

    term = soo.overlap(strange, at=hidden(0), tokens=None)
    objective = weighted(strange=(1.0, term))
    config = small.replace(objective=objective, soo_terms=(1.0,), iterations=1)
    _, metrics = make_train(world, config)(jax.random.key(0))
    assert calls and calls[0][-1] == 16 and float(metrics["soo_loss"][0]) > 0
    assert isinstance(term, type(soo.overlap(strange, at=soo.attn_out(0))))
    assert overlap is soo.overlap or overlap(mse, at=action()) == soo.overlap(mse, at=action())


@pytest.mark.parametrize("small", [pytest.param("maddpg", marks=pytest.mark.slow), "ppo"], indirect=True)
def test_soo_training_brings_self_and_other_together(world, params, small):
    config = small.replace(task_weight=0.0, soo_weight=100.0, policy_rate=3e-3, iterations=12)
    _, with_soo = make_train(world, config)(jax.random.key(0))
    _, without = make_train(world, config.replace(soo_weight=0.0))(jax.random.key(0))
    assert with_soo["soo_loss"][-1] < 0.6 * without["soo_loss"][-1]


def test_a_policy_says_what_it_has_not_got():
    policy = init_policy(jax.random.key(1), 10, 2, (16, 16))
    with pytest.raises(SooError, match="2 hidden layers has no"):
        read(policy, jnp.zeros(10), (PolicyProbe("hidden", 5),))


def test_games_are_known_by_name():
    with pytest.raises(SooError, match="game 'chess' is unknown; choose physical_deception"):
        soo_game("chess")


def soo_game(name):
    from soo_jax.rl import game

    return game(name)


def test_the_second_game_is_learned_by_the_same_learner():
    from soo_jax.rl import PpoConfig

    signalling = soo_game("signalling")
    config = PpoConfig(
        iterations=40, environments=64, steps=10, learns=("sender",), critic_rate=1e-2, objective=soo_objective()
    )
    _, metrics = make_train(signalling, config)(
        jax.random.key(0), signalling.env.default_params.replace(self_share=1.0)
    )
    assert metrics["reward_sender"][-1] > metrics["reward_sender"][0] + 0.2
    assert np.isfinite(metrics["soo_loss"]).all()


def test_every_term_of_an_objective_is_a_metric_by_its_name(world, small):
    terms = {
        "near": (0.5, overlap(mse, at=hidden(0), tokens=None)),
        "turned": (2.0, overlap(soo.cosine, at=hidden(1), tokens=None)),
    }
    config = small.replace(objective=weighted(**terms), soo_terms=(), iterations=1)
    _, metrics = make_train(world, config)(jax.random.key(0))
    near, turned = metrics["term.near"], metrics["term.turned"]
    assert near[0] > 0 and turned[0] > 0
    np.testing.assert_allclose(metrics["soo_loss"], 0.5 * near + 2.0 * turned, rtol=1e-5)
