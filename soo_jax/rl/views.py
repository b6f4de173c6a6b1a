"""Self and other views of a policy, for the terms of ``soo_jax.overlap``."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

import jax
import jax.numpy as jnp
from jax import Array

from soo_jax.overlap import Objective, View, Views, mse, overlap, weighted
from soo_jax.overlap.views import OTHER, SELF, TEXT, check_served, inputs_of, is_base
from soo_jax.rl.config import SERVED, TRAINING
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


def read_views(
    policy: Policy,
    base: Policy,
    selves: Array,
    others: Array,
    mask: Array,
    reads: Mapping[str, tuple[PolicyProbe, ...]],
) -> Views:
    """Runs policies on what an objective reads.

    Args:
      policy: as it is now. base: as it was before fine-tuning.
      selves: ``[B, O]``, all observations. others: the other views of those that are self views.
      mask: ``[B]``, where there was a self view. reads: ``Objective.reads``.

    Raises:
      SooError: a view that learners do not serve, by its name.
    """
    check_served(reads, SERVED, TRAINING)
    inputs = {SELF: (selves, mask), OTHER: (others, mask), TEXT: (selves, jnp.ones_like(mask))}
    views = {}
    for name, probes in reads.items():
        seen, own = inputs[inputs_of(name)]
        views[name] = View(read(base if is_base(name) else policy, seen, probes), own)
    return views
