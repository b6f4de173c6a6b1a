"""What all learners do alike: optimiser steps, running statistics, SOO terms, and freezing what is not finite."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import Any, TypeVar

import jax
import jax.numpy as jnp
import optax
from jax import Array

from soo_jax.rl.config import LearnerConfig
from soo_jax.rl.experience import Transition
from soo_jax.rl.games import Game
from soo_jax.rl.networks import Normaliser, Policy
from soo_jax.rl.views import paired, read_views

NEVER = -1
"""``frozen_at`` of a run whose numbers have all been finite."""

_REWARD_FLOOR = 1e-2

TERM = "term."
"""What precedes the name of an objective's term among metrics."""

Tree = TypeVar("Tree")


def network_keys(agents: Sequence[str], key: Array) -> tuple[dict[str, Array], dict[str, Array]]:
    """A key for every agent's policy and one for every agent's critic."""
    for_policies, for_critics = jax.random.split(key, (2, len(agents)))
    return dict(zip(agents, for_policies, strict=True)), dict(zip(agents, for_critics, strict=True))


def adam(config: LearnerConfig, rate: Any) -> optax.GradientTransformation:
    """Adam behind a clip of the global norm; the rate may be traced."""
    return optax.chain(optax.clip_by_global_norm(config.clip), optax.adam(rate, eps=config.adam_epsilon))


def stepped(optimiser: optax.GradientTransformation, weights: Tree, slope: Tree, moments: Any) -> tuple[Tree, Any]:
    """One optimiser step: the new weights and moments."""
    change, moments = optimiser.update(slope, moments)
    return optax.apply_updates(weights, change), moments


def choose(turn: Array, yes: Tree, no: Tree) -> Tree:
    """One of two trees by a traced bool."""
    return jax.tree.map(lambda a, b: jnp.where(turn, a, b), yes, no)


def flat(x: Array) -> Array:
    """``[T, N, ...]`` to ``[T * N, ...]``."""
    return x.reshape(x.shape[0] * x.shape[1], *x.shape[2:])


def normalised(
    config: LearnerConfig,
    policies: Mapping[str, Policy],
    rewards: Mapping[str, Normaliser],
    played: Transition,
    rate: Array,
) -> tuple[dict[str, Policy], dict[str, Normaliser]]:
    """Policies and reward scales with their running statistics moved by what was played ``[T, N, ...]``."""
    policies, rewards = dict(policies), dict(rewards)
    if config.normalise:
        for name in config.learns:
            seen = policies[name].normaliser.updated(flat(played.observation[name]), rate)
            policies[name] = policies[name].replace(normaliser=seen)
            rewards[name] = rewards[name].updated(flat(played.reward[name]), rate, _REWARD_FLOOR)
    return policies, rewards


def soo_loss(
    game: Game,
    config: LearnerConfig,
    params: Any,
    policy: Policy,
    base: Policy,
    observation: Array,
    place: Array,
    key: Array,
) -> tuple[Array, dict[str, Array]]:
    """The config's objective on observations ``[B, O]``; unweighted by soo_weight.

    Args:
      base: the policy before fine-tuning, for terms that compare with it.

    Returns:
      A scalar, and metrics: itself as ``soo_loss``, and every term, unweighted, as ``term.NAME``.
    """
    selves, others, mask = paired(game, params, observation, place, key, config.mismatch)
    views = read_views(policy, base, selves, others, mask, config.objective.reads)
    own = dict(zip(config.objective.names, config.soo_terms, strict=True)) if config.soo_terms else None
    loss, terms = config.objective(views, own)
    return loss, {"soo_loss": loss, **{f"{TERM}{name}": value for name, value in terms.items()}}


def ramp(config: LearnerConfig, iteration: Array) -> Array:
    """What part of the SOO weight applies in an iteration: linear up to ``soo_ramp`` of the run, then 1."""
    return jnp.clip((iteration + 1) / config.iterations / jnp.maximum(config.soo_ramp, 1e-9), 0.0, 1.0)


def keep_if_finite(new: Tree, old: Tree, metrics: Any, frozen_at: Array, iteration: Array) -> tuple[Tree, Array]:
    """The new tree, or the old one from the first iteration on in which a number is not finite.

    Returns:
      The tree, and the iteration at which it froze (``NEVER``).
    """
    healthy = all_finite((new, metrics)) & (frozen_at == NEVER)
    return choose(healthy, new, old), jnp.where(healthy | (frozen_at != NEVER), frozen_at, iteration)


def all_finite(tree: Any) -> Array:
    """Whether every float in a tree is finite: [] bool. Each by itself: the sum of huge ones is not."""
    leaves = [leaf for leaf in jax.tree.leaves(tree) if jnp.issubdtype(leaf.dtype, jnp.floating)]
    return jnp.stack([jnp.isfinite(leaf).all() for leaf in leaves]).all()
