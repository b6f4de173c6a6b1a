"""Both learners through their one interface."""

import time
from contextlib import nullcontext

import chex
import jax
import jax.numpy as jnp
import numpy as np
import pytest
from flax import struct
from gymnax.environments import spaces

from soo_jax import checkpoints as saving
from soo_jax.checkpoints import Checkpoints, steps
from soo_jax.errors import SooError
from soo_jax.rl import MaddpgConfig, PpoConfig, act, game, make_train, setup, train_population
from soo_jax.rl.config import changed, check_learner
from soo_jax.rl.experience import Packing, collect, gaussian
from soo_jax.rl.games import Game
from soo_jax.rl.learners import maddpg, ppo
from soo_jax.rl.learners.maddpg import ornstein_uhlenbeck
from soo_jax.rl.learning import NEVER, all_finite, flat
from soo_jax.rl.networks import Critic, init_policy
from soo_jax.rl.population import _stacks, device_mesh


def same(a, b) -> bool:
    return all(
        np.array_equal(x, y, equal_nan=True) for x, y in zip(jax.tree.leaves(a), jax.tree.leaves(b), strict=True)
    )


@pytest.mark.parametrize("small", [pytest.param("maddpg", marks=pytest.mark.slow), "ppo"], indirect=True)
def test_a_stack_of_seeds_trains_each_as_if_it_were_alone(world, params, small, keys):
    train = make_train(world, small)
    stacked, _ = jax.vmap(train)(keys)
    for i in (0, 2):
        alone, _ = train(keys[i])
        for x, y in zip(jax.tree.leaves(stacked.learner), jax.tree.leaves(alone.learner), strict=True):
            np.testing.assert_allclose(np.asarray(x)[i], y, rtol=2e-3, atol=2e-4)


@pytest.mark.parametrize("small", [pytest.param("maddpg", marks=pytest.mark.slow), "ppo"], indirect=True)
def test_config_and_world_are_swept_by_vmap_in_one_program(world, params, small, keys):
    train = make_train(world, small)
    rates = jax.tree.map(lambda leaf: jnp.full(2, leaf, float), small).replace(policy_rate=jnp.array([0.0, 1e-2]))
    crowded = params.replace(reach=10.0)  # everybody is at both landmarks, red in the trap
    bonus = jax.tree.map(lambda leaf: jnp.full(2, leaf, float), crowded).replace(deception_bonus=jnp.array([0.0, 50.0]))
    still, moved = (
        jax.tree.map(lambda leaf, i=i: leaf[i], jax.vmap(train, (None, None, 0))(keys[0], params, rates)[0].learner)
        for i in (0, 1)
    )
    start, _ = jax.vmap(make_train(world, small.replace(iterations=1)), (None, None, 0))(keys[0], params, rates)
    begin = jax.tree.map(lambda leaf: leaf[0], start.learner).policies["blue"].params
    assert same(still.policies["blue"].params, begin)
    assert not same(moved.policies["blue"].params, begin)
    rewards = jax.vmap(train, (None, 0))(keys[0], bonus)[1]["reward_blue"]
    assert not np.allclose(rewards[0], rewards[1])


def test_what_does_not_learn_stays_as_it_was(world, params, small, keys):
    red = init_policy(keys[1], 6, 2, (16, 16))
    state, _ = make_train(world, small)(keys[0], others={"red": red})
    assert same(state.learner.policies["red"], red)


def test_a_run_whose_numbers_become_nan_is_frozen_and_the_others_go_on(world, params, small, keys):
    stack = jax.tree.map(lambda leaf: jnp.full(3, leaf, float), params)
    broken = stack.replace(goal_reward=stack.goal_reward.at[1].set(3e38), near_reward=stack.near_reward.at[1].set(3e38))
    whole, _ = train_population(world, setup(keys, stack, small))
    learner, history = train_population(world, setup(keys, broken, small))
    assert history.frozen_at.tolist() == [NEVER, 0, NEVER]
    pick = lambda tree, i: jax.tree.map(lambda leaf: leaf[i], tree)
    assert all(np.isfinite(leaf).all() for leaf in jax.tree.leaves(pick(learner.policies, 1)))
    for i in (0, 2):
        assert same(pick(learner, i), pick(whole, i))


@pytest.mark.parametrize("small", [pytest.param("maddpg", marks=pytest.mark.slow), "ppo"], indirect=True)
def test_an_interrupted_population_ends_at_the_same_bits(world, params, small, keys, tmp_path):
    begin = setup(keys, params, small)
    whole, history = train_population(world, begin, chunk=1)

    class Kill(Exception):
        pass

    def die_at_three(done, total, metrics):
        if done == 3:
            raise Kill

    with pytest.raises(Kill):
        train_population(world, begin, chunk=1, checkpoints=Checkpoints(tmp_path, {}, 1), progress=die_at_three)
    seen = []
    resumed, again = train_population(
        world, begin, chunk=1, checkpoints=Checkpoints(tmp_path, {}, 1), progress=lambda done, *_: seen.append(done)
    )
    assert seen == [3, 4]
    assert same(whole, resumed)
    assert same(history.values, again.values)


@pytest.mark.parametrize("small", [pytest.param("maddpg", marks=pytest.mark.slow), "ppo"], indirect=True)
def test_agents_that_learn_stack_after_stack_are_those_that_learn_all_at_once(world, params, small, keys, tmp_path):
    five = jax.random.split(jax.random.key(3), 5)
    stack = jax.tree.map(lambda leaf: jnp.full(5, leaf, float), params)
    begin = setup(five, stack.replace(sight=jnp.linspace(0.1, 0.5, 5)), small)
    whole, history = train_population(world, begin)

    class Kill(Exception):
        pass

    def die_at_two(done, total, metrics):
        if done == 2:
            raise Kill

    with pytest.raises(Kill):
        train_population(
            world, begin, chunk=1, at_once=2, checkpoints=Checkpoints(tmp_path, {}, 1), progress=die_at_two
        )
    learner, again = train_population(world, begin, at_once=2, checkpoints=Checkpoints(tmp_path, {}, 1))
    assert again.frozen_at.shape == (5,)
    chex.assert_trees_all_close(learner.policies, whole.policies, rtol=1e-4, atol=1e-5)
    chex.assert_trees_all_close(again.values, history.values, rtol=1e-3, atol=1e-4)
    assert not np.allclose(again.values["reward_blue"][:, 3], again.values["reward_blue"][:, 4])


@pytest.mark.parametrize("agents, at_once, stacks", [(5, 512, 1), (5, 2, 3), (512, 512, 1), (513, 512, 2), (3, 1, 3)])
def test_so_many_agents_learn_at_once_as_memory_is_to_hold(agents, at_once, stacks):
    assert _stacks(agents, device_mesh(1), at_once) == stacks


@pytest.mark.parametrize("failing", [True, False], ids=["ended by an error", "trained to the end"])
def test_states_of_a_population_lie_on_the_disk_when_its_training_ends(
    world, params, small, keys, tmp_path, monkeypatch, failing
):
    class Full(Exception):
        pass

    sums = saving._sums

    def slow(part):
        time.sleep(0.3)
        return sums(part)

    def fail_at_three(done, total, metrics):
        if failing and done == 3:
            raise Full

    monkeypatch.setattr(saving, "_sums", slow)
    with pytest.raises(Full) if failing else nullcontext():
        train_population(
            world, setup(keys, params, small), chunk=1, checkpoints=Checkpoints(tmp_path, {}, 1), progress=fail_at_three
        )
    assert steps(tmp_path) == ([1, 2] if failing else [3, 4])


def test_fresh_policies_act_near_zero_and_within_bounds(keys):
    policy = init_policy(keys[0], 10, 2, (64, 64))
    actions = jax.vmap(lambda key: act(policy, jax.random.normal(key, (10,))))(jax.random.split(keys[1], 50))
    assert 0 < np.abs(actions).max() < 0.05


@pytest.mark.parametrize(
    "config, words",
    [
        (
            MaddpgConfig(batch_size=20_000, learns=("blue",)),
            "larger than what the replay buffer holds at the first update (16000)",
        ),
        (MaddpgConfig(capacity=1000, learns=("blue",)), "must be a multiple of environments x steps = 3200"),
        (
            MaddpgConfig(batch_norm=("rewards",), learns=("blue",)),
            "there is no input 'rewards'; choose from observations",
        ),
        (PpoConfig(minibatches=7, learns=("blue",)), "must divide environments x steps = 3200"),
        (PpoConfig(iterations=0, learns=("blue",)), "iterations must be at least 1"),
        (PpoConfig(soo_terms=(1.0,), learns=("blue",)), "soo_terms needs one weight"),
    ],
)
def test_configs_that_cannot_be_trained_are_refused_in_one_line(config, words):
    with pytest.raises(SooError) as caught:
        check_learner(config)
    assert words in str(caught.value) and "\n" not in str(caught.value)


def test_settings_are_checked_by_name_and_kind():
    assert changed(PpoConfig(learns=("blue",)), {"gamma": 1, "hidden": [8]}).hidden == (8,)
    with pytest.raises(SooError, match="setting 'gama' is unknown"):
        changed(PpoConfig(), {"gama": 0.9})
    with pytest.raises(SooError, match="iterations must be of type int, found 'many'"):
        changed(PpoConfig(), {"iterations": "many"})


def test_no_seeds_no_population(world, params, small, keys):
    with pytest.raises(SooError, match="seeds: none given"):
        setup(keys[:0], params, small)


@pytest.mark.parametrize(
    "config",
    [
        PpoConfig(iterations=25, learns=("blue",), critic_rate=1e-2),
        pytest.param(
            MaddpgConfig(iterations=25, learns=("blue",), batch_size=128, capacity=64_000), marks=pytest.mark.slow
        ),
    ],
    ids=["ppo", "maddpg"],
)
def test_an_honest_blue_learns_to_walk_to_the_goal(world, params, keys, config):
    _, metrics = make_train(world, config)(keys[0], params.replace(deception_bonus=0.0))
    first, last = metrics["reward_blue"][:3].mean(), metrics["reward_blue"][-3:].mean()
    assert first < 0.6 and last > 2.0  # 5 in every step at the goal


@struct.dataclass
class OneStepState:
    time: jax.Array


class PayOnce:
    """Pays 1 and is over at once; what comes after is another game."""

    @property
    def default_params(self):
        return OneStepState(jnp.zeros(()))

    def observation_space(self, params):
        return spaces.Dict({name: spaces.Box(-1.0, 1.0, (1,)) for name in ("red", "blue")})

    action_space = observation_space

    def reset_env(self, key, params):
        return {name: jnp.ones(1) for name in ("red", "blue")}, OneStepState(jnp.zeros(()))

    def is_truncated(self, state, params):
        return jnp.asarray(False)

    def step_env(self, key, state, action, params):
        seen = {name: jnp.full(1, -1.0) for name in ("red", "blue")}
        pay = {name: jnp.ones(()) for name in seen}
        return seen, OneStepState(state.time + 1), pay, jnp.asarray(True), {}


PAY_ONCE = Game(
    "pay_once",
    PayOnce(),
    "blue",
    "red",
    lambda seen: seen[..., 0] > 5,
    lambda _, seen, *__: seen,
    lambda s: s.time[None],
)


def test_a_game_that_is_over_begins_anew_and_nothing_is_expected_behind_its_end():
    config = PpoConfig(environments=4, steps=6, hidden=(8,), minibatches=1, gamma=0.9, learns=("red", "blue"))
    params = PAY_ONCE.env.default_params
    learner = ppo.init_learner(PAY_ONCE, config, params, jax.random.key(0))
    explore = gaussian({name: jnp.exp(value) for name, value in learner.deviations.items()})
    played = collect(PAY_ONCE, config, params, learner.policies, explore, jax.random.key(1))
    assert (np.asarray(played.over) == 1).all()
    assert (np.asarray(played.observation["blue"]) == 1).all(), "each step is the first of a new game"
    assert (np.asarray(played.following["blue"]) == -1).all(), "and is followed by its own end"
    sample = ppo._sample(config, learner, "blue", played)
    reward = learner.rewards["blue"](played.reward["blue"]).reshape(-1)
    np.testing.assert_allclose(sample.target, reward, atol=1e-6)


def test_a_critic_of_maddpg_expects_nothing_behind_the_end_of_a_game():
    config = MaddpgConfig(environments=4, steps=6, hidden=(8,), gamma=0.9, learns=("red", "blue"))
    params = PAY_ONCE.env.default_params
    learner = maddpg.init_learner(PAY_ONCE, config, params, jax.random.key(0))
    explore = ornstein_uhlenbeck(config, jnp.ones(()))
    played = jax.tree.map(flat, collect(PAY_ONCE, config, params, learner.policies, explore, jax.random.key(1)))
    weigh = lambda x: Critic((8,)).apply({"params": learner.critics["blue"]}, x)
    seen = [learner.policies[name].normaliser(played.observation[name]) for name in PAY_ONCE.agents]
    value = weigh(jnp.concatenate([*seen, *(played.action[name] for name in PAY_ONCE.agents)], axis=-1))
    reward = learner.rewards["blue"](played.reward["blue"])
    weight, turn, base = jnp.zeros(()), jnp.asarray(True), learner.policies["blue"]
    losses = lambda batch: maddpg.update(
        PAY_ONCE, config, params, learner, base, batch, jax.random.key(2), weight, turn
    )[1]
    ended = losses(played)["critic_loss_blue"]
    assert float(ended) == pytest.approx(float(jnp.mean((value - reward) ** 2)), rel=1e-5)
    assert float(losses(played._replace(over=0 * played.over))["critic_loss_blue"]) != pytest.approx(float(ended))


def test_a_game_whose_time_is_up_begins_anew_and_its_last_step_is_worth_what_would_have_followed():
    signals = game("signalling")
    config = PpoConfig(environments=4, steps=25, hidden=(8,), minibatches=1, learns=("receiver", "sender"))
    params = signals.env.default_params
    learner = ppo.init_learner(signals, config, params, jax.random.key(0))
    explore = gaussian({name: jnp.exp(value) for name, value in learner.deviations.items()})
    played = collect(signals, config, params, learner.policies, explore, jax.random.key(1))
    ends = np.flatnonzero(np.asarray(played.last)[:, 0])
    assert ends.tolist() == [9, 19] and not np.asarray(played.over).any()
    prize = np.asarray(played.observation["sender"])[..., :2]
    for first, behind in ((0, 10), (10, 20), (20, 25)):
        assert (prize[first:behind] == prize[first]).all(), "one game has one prize"
    assert (prize[10] != prize[9]).all() and (prize[20] != prize[19]).all()
    critic = lambda seen: Critic((8,)).apply({"params": learner.critics["sender"]}, seen)
    value = critic(learner.policies["sender"].normaliser(played.following["sender"][9]))
    reward = learner.rewards["sender"](played.reward["sender"][9])
    target = ppo._sample(config, learner, "sender", played).target.reshape(25, 4)
    np.testing.assert_allclose(target[9], reward + config.gamma * value, rtol=1e-5)


def test_ppo_learns_from_actions_by_the_likelihood_with_which_they_were_taken(world, params):
    config = PpoConfig(
        iterations=2, environments=8, steps=10, hidden=(16,), epochs=1, minibatches=1, learns=("red", "blue")
    )
    state, _ = make_train(world, config)(jax.random.key(3), params)
    learner, samples, played, later = ppo.experience(world, config, params, state, jax.random.key(4))
    for name in ("red", "blue"):
        policy, deviation = state.learner.policies[name], state.learner.deviations[name]
        mean = act(policy, played.observation[name])
        density = jax.scipy.stats.norm.logpdf(played.action[name], mean, jnp.exp(deviation)).sum(-1)
        constant = jnp.log(2 * jnp.pi)  # of two dimensions, half of it each
        np.testing.assert_allclose(samples[name].likelihood, flat(density + constant), rtol=1e-4, atol=1e-4)
        assert not same(later[name], policy.normaliser), "the next iteration sees anew"
        assert same(learner.policies[name], policy), "this one does not"


@pytest.mark.parametrize("small", ["ppo"], indirect=True)
def test_other_seeds_rates_and_worlds_run_the_program_that_is_there(world, params, small, keys, monkeypatch):
    train_population(world, setup(keys, params, small))
    monkeypatch.setattr(ppo, "iterate", chex.assert_max_traces(ppo.iterate, n=1))  # once, to learn what is measured
    others = jax.random.split(jax.random.key(9), len(keys))
    train_population(world, setup(others, params.replace(sight=0.3), small.replace(policy_rate=0.1)))


def test_no_random_key_is_used_twice(world, params, small):
    with jax.debug_key_reuse(True):
        make_train(world, small)(jax.random.key(5), params)


@pytest.mark.parametrize("small", ["maddpg"], indirect=True)
def test_no_iteration_of_maddpg_plays_the_warm_up_again(world, params, small):
    state, _ = make_train(world, small.replace(iterations=3))(jax.random.key(0), params)
    rows = jnp.asarray(state.replay.experience).reshape(-1, Packing.of(world, params).width)
    starts = [
        np.asarray(Packing.of(world, params).unpack(rows[i : i + 4]).observation["red"]) for i in (0, 40, 80, 120)
    ]
    assert np.abs(starts[0]).min() > 0
    for i, one in enumerate(starts):
        assert not any(np.isclose(one, other).any() for other in starts[:i])


def test_a_huge_sum_of_finite_numbers_is_finite_and_one_infinity_is_not():
    huge = {"a": jnp.full(4, 3e38), "b": jnp.full(4, 3e38)}
    assert bool(all_finite(huge))
    assert not bool(all_finite({**huge, "c": jnp.array([1.0, jnp.inf])}))
    assert not bool(all_finite({**huge, "c": jnp.array([jnp.nan])}))


def updated(world, params, config, batch):
    """One update of a fresh learner from a batch: the learner and its losses."""
    learner = maddpg.init_learner(world, config, params, jax.random.key(0))
    base, turn = learner.policies["blue"], jnp.asarray(True)
    return maddpg.update(world, config, params, learner, base, batch, jax.random.key(2), jnp.zeros(()), turn)


@pytest.fixture(scope="module")
def batch(world, params):
    """Steps of two fresh policies, with noise."""
    config = MaddpgConfig(environments=8, steps=20, hidden=(8,), learns=("red", "blue"))
    learner = maddpg.init_learner(world, config, params, jax.random.key(0))
    explore = ornstein_uhlenbeck(config, jnp.ones(()))
    return jax.tree.map(flat, collect(world, config, params, learner.policies, explore, jax.random.key(1)))


def test_under_batch_norm_a_critic_does_not_care_in_what_unit_actions_are_stored(world, params, batch):
    five_times = batch._replace(action={name: 5 * value for name, value in batch.action.items()})
    names = ("critic_loss_blue", "policy_loss_blue")
    for norms, same in ((("observations", "actions"), True), ((), False)):
        config = MaddpgConfig(hidden=(8,), learns=("red", "blue"), batch_norm=norms)
        once, scaled = (updated(world, params, config, one)[1] for one in (batch, five_times))
        assert np.allclose([once[n] for n in names], [scaled[n] for n in names], rtol=1e-3) == same


def test_under_batch_norm_no_critic_asks_a_policy_to_move_all_of_its_actions_one_way(world, params, batch):
    for norms, pushed in ((("observations", "actions"), False), ((), True)):
        config = MaddpgConfig(hidden=(8,), learns=("red", "blue"), batch_norm=norms, action_penalty=0.0)
        learner = maddpg.init_learner(world, config, params, jax.random.key(0))
        seen = {name: maddpg._as_seen(config, one, batch.observation[name]) for name, one in learner.policies.items()}

        def value(shift, config=config, seen=seen, critic=learner.critics["blue"]):
            actions = {**batch.action, "blue": batch.action["blue"] + shift}
            return jnp.mean(Critic((8,)).apply({"params": critic}, maddpg._joint(world, config, seen, actions)))

        assert (np.abs(jax.grad(value)(jnp.zeros(2))).max() > 1e-3) == pushed


def test_a_penalty_on_logits_draws_a_saturated_policy_back(world, params, batch):
    config = MaddpgConfig(hidden=(8,), learns=("red", "blue"), logit_penalty=1.0)
    assert float(updated(world, params, config, batch)[1]["saturated_blue"]) == 0
    learner = maddpg.init_learner(world, config, params, jax.random.key(0))
    policy = learner.policies["blue"]
    weights = {**policy.params, "Dense_1": {**policy.params["Dense_1"], "bias": jnp.full(2, 9.0)}}
    learner = learner.replace(policies={**learner.policies, "blue": policy.replace(params=weights)})
    base, turn = learner.policies["blue"], jnp.asarray(True)
    for penalty, drawn in ((0.0, False), (1.0, True)):
        config = config.replace(logit_penalty=penalty, action_penalty=0.0, policy_rate=0.1)
        after, losses = maddpg.update(
            world, config, params, learner, base, batch, jax.random.key(2), jnp.zeros(()), turn
        )
        assert float(losses["saturated_blue"]) == 1
        moved = after.policies["blue"].params["Dense_1"]["bias"] - 9.0
        assert (np.asarray(moved) < -0.05).all() == drawn


def test_policies_that_learn_with_batch_norm_act_by_the_statistics_of_their_batches(world, params, batch):
    seen = batch.observation["blue"]
    for norms, moves, part in (
        (("observations",), True, 0.1),
        (("observations",), False, 0.0),
        (("actions",), True, 0.0),
    ):
        config = MaddpgConfig(hidden=(8,), learns=("red", "blue"), batch_norm=norms, normalise=moves)
        normaliser = updated(world, params, config, batch)[0].policies["blue"].normaliser
        np.testing.assert_allclose(normaliser.mean, part * seen.mean(axis=0), atol=1e-6)
    config = MaddpgConfig(
        environments=8, steps=20, hidden=(8,), learns=("blue",), warmup=1, batch_norm=("observations",)
    )
    state = maddpg.init_state(world, config, params, jax.random.key(0))
    assert not np.asarray(state.learner.policies["blue"].normaliser.mean).any(), "what is played does not move them"
