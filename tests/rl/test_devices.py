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
alone, _ = train_population(world, population.setup(keys[:1], world.env.default_params, config))
red = jax.tree.map(lambda leaf: leaf[jax.numpy.zeros(8, int)], alone.policies["red"])
begin = population.setup(keys, world.env.default_params, config, others={"red": red})
frozen = train_population(world, begin)[1].frozen_at != population.NEVER
found["a red trained on one device, met on eight"] = [8, float(frozen.sum())]
print(json.dumps(found))
"""


@pytest.mark.slow
def test_eight_devices_give_what_one_gives():
    done = subprocess.run([sys.executable, "-c", SCRIPT], capture_output=True, text=True, timeout=400)
    assert done.returncode == 0, done.stderr[-2000:]
    for devices, difference in json.loads(done.stdout).values():
        assert devices == 8
        assert difference < 1e-4
