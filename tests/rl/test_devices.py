"""Seeds on 8 devices, in a process of its own: XLA can be told of devices only before it starts."""

import json
import subprocess
import sys

import pytest

SCRIPT = """
import json
import jax, numpy as np
jax.config.update("jax_num_cpu_devices", 8)
from soo_jax.rl import PpoConfig, MaddpgConfig, game, setup, train_population
from soo_jax.rl import population
world = game("physical_deception")
keys = jax.random.split(jax.random.key(0), 8)
few = dict(iterations=3, environments=4, steps=10, hidden=(16, 16), learns=("blue",))
found = {}
for config in (PpoConfig(**few), MaddpgConfig(**few, updates=2, batch_size=16, capacity=400)):
    begin = population.setup(keys, world.env.default_params, config)
    spread, _ = train_population(world, begin)
    one = population.device_mesh
    devices = one(8).size
    population.device_mesh = lambda size: one(1)
    single, _ = train_population(world, begin)
    population.device_mesh = one
    pairs = zip(jax.tree.leaves(jax.device_get(spread)), jax.tree.leaves(jax.device_get(single)))
    found[type(config).__name__] = [devices, max(float(np.abs(a - b).max()) for a, b in pairs)]
print(json.dumps(found))
"""


ALONE_AND_TOGETHER = """
import jax
jax.config.update("jax_num_cpu_devices", 2)
from soo_jax.rl import PpoConfig, game, population, setup, train_population
world, keys = game("physical_deception"), jax.random.split(jax.random.key(0), 2)
config = PpoConfig(iterations=1, environments=2, steps=5, hidden=(8,), minibatches=1, epochs=1, learns=("blue",))
alone, _ = train_population(world, setup(keys[:1], world.env.default_params, config))
red = jax.tree.map(lambda leaf: leaf[jax.numpy.zeros(2, int)], alone.policies["red"])
red = jax.device_put(red, jax.devices()[0])  # bound to the one
begin = setup(keys, world.env.default_params, config, others={"red": red})
assert population.device_mesh(2).size == 2
both, history = train_population(world, begin)
assert (history.frozen_at == population.NEVER).all()
jax.tree.map(lambda *leaves: jax.numpy.concatenate(leaves), alone, both)  # one device's and two devices' go together
"""


def test_a_red_trained_on_one_device_is_met_on_two():
    done = subprocess.run([sys.executable, "-c", ALONE_AND_TOGETHER], capture_output=True, text=True, timeout=400)
    assert done.returncode == 0, done.stderr[-2000:]


UNEVEN = """
import jax, numpy as np
jax.config.update("jax_num_cpu_devices", 4)
from soo_jax.rl import AgentName, Agents, PpoConfig, evaluation, game, population, setup, train_population
world, keys = game("physical_deception"), jax.random.split(jax.random.key(0), 5)
config = PpoConfig(iterations=2, environments=2, steps=5, hidden=(8,), minibatches=1, epochs=1, learns=("blue",))
begin = setup(keys, world.env.default_params, config)
assert [population.device_mesh(n).size for n in (1, 3, 4, 5, 7, 11)] == [1, 3, 4, 3, 4, 4]
spread, history = train_population(world, begin)
assert history.frozen_at.shape == (5,) and history.values["reward_blue"].shape == (2, 5)
whole = population.device_mesh
population.device_mesh = evaluation.device_mesh = lambda size: whole(1)
single, _ = train_population(world, begin)
for a, b in zip(jax.tree.leaves(spread), jax.tree.leaves(single), strict=True):
    np.testing.assert_allclose(a, b, atol=1e-5)
params = jax.tree.map(lambda leaf: jax.numpy.full(5, leaf, float), world.env.default_params)
agents = Agents(tuple(AgentName("deceptive", 0, seed) for seed in range(5)), single, params)
one = evaluation.evaluate_agents(world, agents, jax.random.key(1), 4)
evaluation.device_mesh = whole
several = evaluation.evaluate_agents(world, agents, jax.random.key(1), 4)
assert several.metrics["trapped"].shape == (5,)
for a, b in zip(jax.tree.leaves(several), jax.tree.leaves(one), strict=True):
    np.testing.assert_allclose(a, b, atol=1e-4)
"""


@pytest.mark.slow
def test_agents_that_the_devices_do_not_divide_are_spread_over_them_all_the_same():
    done = subprocess.run([sys.executable, "-c", UNEVEN], capture_output=True, text=True, timeout=400)
    assert done.returncode == 0, done.stderr[-2000:]


@pytest.mark.slow
def test_eight_devices_give_what_one_gives():
    done = subprocess.run([sys.executable, "-c", SCRIPT], capture_output=True, text=True, timeout=400)
    assert done.returncode == 0, done.stderr[-2000:]
    for devices, difference in json.loads(done.stdout).values():
        assert devices == 8
        assert difference < 1e-4
