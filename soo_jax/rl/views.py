"""Self and other views of a policy, for the terms of ``soo_jax.overlap``."""

from __future__ import annotations

from collections.abc import Iterable
from typing import Any

import jax
import jax.numpy as jnp
from jax import Array

from soo_jax.overlap import Objective, View, Views, mse, overlap, weighted
from soo_jax.overlap.views import OTHER, SELF
from soo_jax.rl.games import Game
from soo_jax.rl.networks import Policy, PolicyProbe, hidden, read

DIRECTION_TERMS = ("both", "other_to_self", "self_to_other")


def soo_objective(distance: Any = mse, at: PolicyProbe | None = None) -> Objective:
    """The SOO loss in all three directions as terms of one objective; ``MaddpgConfig.soo_terms`` chooses among them.

    So runs that differ in direction still share one compiled program. Source: Carauleanu et al. 2024, RL experiment.
    """
    at = hidden() if at is None else at
    terms = {name: overlap(distance, at=at, tokens=None, direction=name) for name in DIRECTION_TERMS}
    return weighted(**{name: (1.0 if name == "both" else 0.0, term) for name, term in terms.items()})


def paired(
    game: Game, params: Any, observation: Array, place: Array, key: Array, mismatch: Array | float = 0.0
) -> tuple[Array, Array, Array]:
    """Other views for a batch of observations.

    Args:
      observation: ``[B, O]`` of the game's agent. place: ``[B, P]``.
      mismatch: 1 hands every observation the other view of the one before, which is a control.

    Returns:
      Self views ``[B, O]`` (the observations), other views ``[B, O]``, mask ``[B]``: where there was a self view.
    """
    make = jax.vmap(game.other_view, (0, 0, 0, None))
    others = make(jax.random.split(key, len(observation)), observation, place, params)
    mask = game.self_view(observation)
    wrong = jnp.asarray(mismatch) > 0
    others = jnp.where(wrong, jnp.roll(others, 1, axis=0), others)
    return observation, others, mask & jnp.where(wrong, jnp.roll(mask, 1), True)


def read_views(policy: Policy, selves: Array, others: Array, mask: Array, probes: Iterable[PolicyProbe]) -> Views:
    """Runs the policy on both sides."""
    probes = tuple(probes)
    return {SELF: View(read(policy, selves, probes), mask), OTHER: View(read(policy, others, probes), mask)}
