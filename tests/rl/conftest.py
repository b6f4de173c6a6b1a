"""Learners small enough that a test takes seconds."""

import jax
import pytest

from soo_jax.rl import MaddpgConfig, PpoConfig, game, soo_objective

SMALL = {"iterations": 4, "environments": 4, "steps": 10, "hidden": (16, 16), "learns": ("blue",)}


@pytest.fixture(scope="session")
def world():
    return game("physical_deception")


@pytest.fixture(scope="session")
def params(world):
    return world.env.default_params


@pytest.fixture(scope="session", params=["maddpg", "ppo"])
def small(request):
    """A small config of either learner, SOO terms included."""
    soo = {"objective": soo_objective(), "soo_weight": 0.1, "soo_terms": (1.0, 0.0, 0.0)}
    if request.param == "ppo":
        return PpoConfig(**SMALL, **soo, epochs=1, minibatches=2)
    return MaddpgConfig(**SMALL, **soo, updates=2, batch_size=16, capacity=400, warmup=1)


@pytest.fixture(scope="session")
def keys():
    return jax.random.split(jax.random.key(0), 3)
