"""One interface to all learners: a config says which, and a run is a function of a key."""

from __future__ import annotations

from collections.abc import Callable, Mapping
from types import ModuleType
from typing import Any

import jax
from jax import Array

from soo_jax.rl import maddpg, ppo
from soo_jax.rl.config import LearnerConfig, PpoConfig, check
from soo_jax.rl.games import Game
from soo_jax.rl.networks import Policy

Train = Callable[..., tuple[Any, dict[str, Array]]]


def algorithm(config: LearnerConfig) -> ModuleType:
    """The module with ``init_learner``, ``init_state`` and ``iterate`` for a config."""
    return ppo if isinstance(config, PpoConfig) else maddpg


def make_train(game: Game, config: LearnerConfig) -> Train:
    """The whole run as one jitted function.

    Returns:
      ``train(key, params=..., config=..., learner=None, others=None) -> (state, metrics [I])``. Everything vmaps:
      ``jax.vmap(train)(keys)`` trains seeds, ``jax.vmap(lambda x: train(key, params.replace(sight=x)))(sights)`` sweeps
      the world, and the same with a float of the config the learner.

    Raises:
      SooError: the config cannot be trained.
    """
    learn = algorithm(check(config))

    @jax.jit
    def train(
        key: Array,
        params: Any = game.env.default_params,
        config: LearnerConfig = config,
        learner: Any = None,
        others: Mapping[str, Policy] | None = None,
    ) -> tuple[Any, dict[str, Array]]:
        state = learn.init_state(game, config, params, key, learner, others)
        one = lambda state, _: learn.iterate(game, config, params, state)
        return jax.lax.scan(one, state, None, length=config.iterations)

    return train
