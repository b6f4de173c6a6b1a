"""One interface to all learners: a config says which, and a run is a function of a key."""

from __future__ import annotations

from collections.abc import Callable, Mapping
from typing import Any, Protocol

import jax
from jax import Array

from soo_jax.rl.config import LearnerConfig, MaddpgConfig, PpoConfig, check_learner
from soo_jax.rl.games.game import Game
from soo_jax.rl.networks import Policy

Train = Callable[..., tuple[Any, dict[str, Array]]]


class Algorithm(Protocol):
    """A learner: three pure functions, in a module or an object.

    What they pass on are pytrees of the learner's own, of which others ask this much: a learner has ``policies`` (of
    every agent, by name) and ``policy_moments`` and ``critic_moments`` (optimiser states, by agent), a state has
    ``learner``, ``iteration`` (done so far) and ``frozen_at`` (the iteration at which a number was not finite, or
    ``learning.NEVER``).
    """

    def init_learner(self, game: Game, config: Any, params: Any, key: Array) -> Any:
        """Fresh networks for everybody."""

    def init_state(
        self,
        game: Game,
        config: Any,
        params: Any,
        key: Array,
        learner: Any = None,
        others: Mapping[str, Policy] | None = None,
    ) -> Any:
        """A run about to begin, from ``learner`` or from scratch; ``others`` are policies that do not learn."""

    def iterate(self, game: Game, config: Any, params: Any, state: Any) -> tuple[Any, dict[str, Array]]:
        """One iteration: the next state, and scalar metrics, the same names every time."""


def _built_in() -> dict[type[LearnerConfig], Algorithm]:
    from soo_jax.rl.learners import maddpg, ppo

    return {MaddpgConfig: maddpg, PpoConfig: ppo}


_OWN: dict[type[LearnerConfig], Algorithm] = {}


def register(config: type[LearnerConfig], learner: Algorithm) -> None:
    """Makes a learner known by the class of its config, for configs of that class and of those derived from it."""
    _OWN[config] = learner


def algorithm(config: LearnerConfig) -> Algorithm:
    """The learner of a config.

    Raises:
      TypeError: no learner was registered for its class.
    """
    known = {**_built_in(), **_OWN}
    for kind in type(config).__mro__:
        if kind in known:
            return known[kind]
    raise TypeError(f"{type(config).__name__}: no learner is known for this config; call soo_jax.rl.learners.register")


def make_train(game: Game, config: LearnerConfig) -> Train:
    """The whole run as one jitted function.

    Returns:
      ``train(key, params=..., config=..., learner=None, others=None) -> (state, metrics [I])``. Everything vmaps:
      ``jax.vmap(train)(keys)`` trains seeds, ``jax.vmap(lambda x: train(key, params.replace(sight=x)))(sights)`` sweeps
      the world, and the same with a float of the config the learner.

    Raises:
      SooError: the config cannot be trained.
    """
    learn = algorithm(check_learner(config))

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
