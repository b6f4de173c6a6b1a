"""Agents on disk, and in stacks."""

import jax
import numpy as np
import pytest

from soo_jax.errors import SooError
from soo_jax.rl import AgentName, PpoConfig, load_agents, preset, save_agents
from soo_jax.rl.agents import agent_keys, read_about, together
from soo_jax.rl.experiment import finetune, like, random_direction, standing_still, train_baselines
from soo_jax.rl.networks import act

TINY = PpoConfig(iterations=2, environments=2, steps=5, hidden=(8, 8), learns=("blue",), epochs=1, minibatches=1)


@pytest.fixture(scope="module")
def recipe():
    from dataclasses import replace

    whole = preset("trusting-red")
    small = TINY.replace(objective=whole.finetune.objective, soo_weight=1.0)
    return replace(whole, follower=None, baseline=TINY, finetune=small)


@pytest.fixture(scope="module")
def agents(world, recipe):
    names = [AgentName(condition, red, 0) for condition in ("deceptive", "honest") for red in (0, 1)]
    return train_baselines(world, recipe, names)[0]


def test_agents_come_back_from_disk_as_they_were(world, agents, tmp_path):
    save_agents(tmp_path / "a.safetensors", agents, {"stage": "test"})
    again = load_agents(tmp_path / "a.safetensors", like(world, TINY))
    assert again.names == agents.names
    for x, y in zip(jax.tree.leaves(agents.learner), jax.tree.leaves(again.learner), strict=True):
        np.testing.assert_array_equal(x, y)
    assert read_about(tmp_path / "a.safetensors")[1] == {"stage": "test"}


def test_agents_of_a_version_that_knew_fewer_numbers_of_the_world_come_back_with_their_defaults(
    world, agents, tmp_path
):
    from safetensors import safe_open
    from safetensors.numpy import load_file, save_file

    path = tmp_path / "a.safetensors"
    save_agents(path, agents, {})
    with safe_open(path, "np") as file:
        header = file.metadata()
    leaves = load_file(path)
    assert leaves.pop("1.blue_sight").shape == (len(agents),)
    save_file(leaves, path, header)
    again = load_agents(path, like(world, TINY))
    np.testing.assert_array_equal(again.params.blue_sight, np.ones(len(agents)))


def test_what_an_agent_would_do_is_taken_from_it_where_it_is_to_stand_still(world, agents):
    still = standing_still(agents, "blue").policies
    seen = jax.random.normal(jax.random.key(0), (len(agents), 5, 10))
    np.testing.assert_array_equal(jax.vmap(act)(still["blue"], seen), 0.0)
    assert still["red"] is agents.policies["red"]


def test_agents_train_in_another_world_and_come_back_to_their_own(world, recipe, agents):
    few = agents.of("deceptive")
    how = ["soo"] * len(few)
    own, _ = finetune(world, recipe.finetune, few, how)
    blind, _ = finetune(world, recipe.finetune, few, how, worlds={"blue_sight": 0.0})
    np.testing.assert_array_equal(blind.params.blue_sight, np.ones(len(few)))
    kernel = lambda found: np.asarray(found.policies["blue"].params["Dense_0"]["kernel"])
    assert np.abs(kernel(own) - kernel(blind)).max() > 1e-6


def test_agents_of_another_config_are_refused(world, agents, tmp_path):
    save_agents(tmp_path / "a.safetensors", agents, {})
    with pytest.raises(SooError, match="made with another config"):
        load_agents(tmp_path / "a.safetensors", like(world, TINY.replace(hidden=(16, 16))))


def test_damaged_and_foreign_files_are_refused_in_one_line(tmp_path):
    path = tmp_path / "a.safetensors"
    with pytest.raises(SooError, match="no such file"):
        read_about(path)
    path.write_bytes(b"nonsense that is long enough to have a header")
    with pytest.raises(SooError, match="is damaged"):
        read_about(path)
    from safetensors.numpy import save

    path.write_bytes(save({"x": np.zeros(1)}))
    with pytest.raises(SooError, match="holds no agents"):
        read_about(path)


def test_an_agent_does_not_depend_on_who_else_is_trained(world, recipe, agents):
    alone, _ = train_baselines(world, recipe, [AgentName("honest", 1, 0)])
    row = agents.names.index(AgentName("honest", 1, 0))
    for x, y in zip(jax.tree.leaves(agents.learner), jax.tree.leaves(alone.learner), strict=True):
        np.testing.assert_allclose(np.asarray(x)[row], np.asarray(y)[0], rtol=1e-3, atol=1e-5)


def test_conditions_differ_in_reward_and_treatments_in_weights(world, recipe, agents):
    np.testing.assert_array_equal(agents.params.deception_bonus, [20, 20, 0, 0])
    base = agents.of("deceptive")
    tuned, history = finetune(world, recipe.finetune, together([base, base]), ["soo"] * 2 + ["control:more_rl"] * 2)
    assert [name.condition for name in tuned.names] == ["soo"] * 2 + ["control:more_rl"] * 2
    assert "soo_loss" in history.values
    kernel = np.asarray(tuned.policies["blue"].params["Dense_0"]["kernel"])
    assert not np.allclose(kernel[:2], kernel[2:])


@pytest.mark.slow
def test_treatments_of_other_starts_say_so(world, recipe, agents):
    tuned, _ = finetune(world, recipe.finetune, agents.of("honest"), ["soo", "soo"])
    assert {name.condition for name in tuned.names} == {"soo_on_honest"}
    with pytest.raises(SooError, match="treatment 'sooo' is unknown"):
        finetune(world, recipe.finetune, agents.of("honest"), ["soo", "sooo"])


def test_a_random_direction_moves_every_array_as_far_as_fine_tuning_did(agents):
    before, after = agents.of("deceptive"), agents.of("honest")
    moved = random_direction(before, after, "blue", jax.random.key(0))
    size = lambda a, b: [
        np.linalg.norm(np.asarray(y - x).reshape(2, -1), axis=1)
        for x, y in zip(
            jax.tree.leaves(a.policies["blue"].params), jax.tree.leaves(b.policies["blue"].params), strict=True
        )
    ]
    np.testing.assert_allclose(size(before, moved), size(before, after), rtol=1e-4, atol=1e-6)


def test_keys_are_those_of_seed_and_red():
    names = [
        AgentName("deceptive", 0, 0),
        AgentName("honest", 0, 0),
        AgentName("honest", 1, 0),
        AgentName("honest", 0, 1),
    ]
    data = np.asarray(jax.random.key_data(agent_keys(names, 1)))
    assert (data[0] == data[1]).all() and len({tuple(row) for row in data}) == 3


def test_missing_conditions_are_named(agents):
    with pytest.raises(SooError, match=r"condition avoid: there are no .* there are conditions deceptive, honest"):
        agents.of("avoid")
