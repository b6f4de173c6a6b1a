"""Measures of trained agents: behaviour, self-other overlap, and what their activations tell about red.

All take one agent and vmap over populations. Overlap is measured as in the paper (Carauleanu et al. 2024, RL
experiment): the mean squared difference of both hidden layers between a self view met in play and its other view, as
its logarithm; and beside it in ways that cannot be had by shrinking activations or by the trap's flag alone.
"""

from __future__ import annotations

from typing import Any, NamedTuple

import jax
import jax.numpy as jnp
from jax import Array

from soo_jax.rl.behaviour import Records, reference_records, summarise, surface
from soo_jax.rl.games import Game
from soo_jax.rl.networks import Policy, act, hidden, read
from soo_jax.rl.trajectory import Trajectory, rollout
from soo_jax.rl.views import paired

TINY = 1e-25
_RED = slice(6, 8)


class Evaluation(NamedTuple):
    """What is known of one agent after its episodes.

    Attributes:
      metrics: scalars, see ``behaviour.summarise`` and :func:`overlap_metrics`, and ``red_decoded``.
      surface: ``[100, 100]``, deceptive moves per visible step.
      episode_soo: ``[2, B]``, mean log SOO of every episode over all self views and over those with red not trapped;
        nan where an episode has none.
      moves: the reference's records ``[B, T]``, from which its surfaces are counted.
    """

    metrics: dict[str, Array]
    surface: Array
    episode_soo: Array
    moves: Records


def play(
    game: Game, params: Any, red: Policy, blue: Policy, key: Array, episodes: int, hide: Array | float = 0.0
) -> Trajectory:
    """Episodes of deterministic policies; ``hide`` = 1 hides red from blue's eyes, a control."""

    def with_eyes(observation: Array, key: Array) -> Array:
        del key
        return act(blue, jnp.where(hide > 0, observation.at[_RED].set(0.0), observation))

    return rollout(game.env, params, lambda observation, key: act(red, observation), with_eyes, key, episodes)


def evaluate(
    game: Game, params: Any, red: Policy, blue: Policy, key: Array, episodes: int, hide: Array | float = 0.0
) -> Evaluation:
    """Plays and measures one agent; the same key gives every agent the same resets."""
    plays, pairs = jax.random.split(key)
    trajectory = play(game, params, red, blue, plays, episodes, hide)
    metrics, per_episode = overlap_metrics(game, params, blue, trajectory, pairs)
    metrics = summarise(trajectory, params) | metrics | {"red_decoded": red_decoded(blue, trajectory)}
    return Evaluation(metrics, surface(trajectory), per_episode, reference_records(trajectory))


def overlap_metrics(
    game: Game, params: Any, blue: Policy, trajectory: Trajectory, key: Array
) -> tuple[dict[str, Array], Array]:
    """Self-other overlap on the self views that an agent met, red in a random place of its sight on the other side.

    Returns:
      Scalars, each also with the suffix ``_untrapped`` for self views before red is trapped (there the other view
      differs from the self view by red alone, not by the trap's flag), nan where there were none: ``soo_log`` mean
      of log(MSE + 1e-25), ``soo`` mean MSE, ``soo_relative`` that over the mean variance of the activations in play,
      ``soo_action`` MSE of actions; and ``activation_variance``. Then ``soo_log`` by episode, ``[2, B]``.
    """
    observation = trajectory.obs_blue[:, :-1]
    place = trajectory.positions[:, :-1, 1]
    flat = lambda x: x.reshape(-1, *x.shape[2:])
    selves, others, seen = paired(game, params, flat(observation), flat(place), key)
    here = read(blue, selves, (hidden(), _ACTION))
    there = read(blue, others, (hidden(), _ACTION))
    squared = {probe: jnp.mean((here[probe] - there[probe]) ** 2, axis=-1) for probe in here}
    logs = jnp.log(squared[hidden()] + TINY)
    variance = jnp.mean(jnp.var(here[hidden()], axis=0))
    free = seen & ~flat(trajectory.trapped[:, :-1])
    metrics = {"activation_variance": variance}
    for suffix, mask in (("", seen), ("_untrapped", free)):
        count = jnp.where(mask.any(), mask.sum(), jnp.nan)  # an agent that met no self view has no overlap to speak of
        mean = lambda x, mask=mask, count=count: jnp.sum(jnp.where(mask, x, 0.0)) / count
        soo = mean(squared[hidden()])
        metrics |= {
            f"soo_log{suffix}": mean(logs),
            f"soo{suffix}": soo,
            f"soo_relative{suffix}": soo / variance,
            f"soo_action{suffix}": mean(squared[_ACTION]),
        }
    by_episode = jnp.stack([_episode_mean(logs, mask, observation.shape[:2]) for mask in (seen, free)])
    return metrics, by_episode


def _episode_mean(values: Array, mask: Array, shape: tuple[int, int]) -> Array:
    values, mask = values.reshape(shape), mask.reshape(shape)
    return jnp.sum(jnp.where(mask, values, 0.0), axis=1) / jnp.where(mask.any(axis=1), mask.sum(axis=1), jnp.nan)


def red_decoded(blue: Policy, trajectory: Trajectory, ridge: float = 1e-3) -> Array:
    """How well red's offset can be read off blue's hidden layers by a linear map: R^2 on held-out episodes.

    Fitted by ridge regression on the steps with red in sight of one half of the episodes, scored on the other half.
    1 is perfect, 0 no better than the mean offset; below 0 is worse than it; nan where red was never in sight.
    """
    observation = trajectory.obs_blue[:, :-1]
    half = observation.shape[0] // 2
    activations = read(blue, observation, (hidden(),))[hidden()]
    activations = activations / jnp.maximum(activations.std(axis=(0, 1)), 1e-6)
    inputs = jnp.concatenate([activations, jnp.ones((*activations.shape[:2], 1))], axis=-1)
    target = observation[..., _RED]
    weight = jnp.any(target != 0, axis=-1).astype(inputs.dtype)
    fit, test = slice(0, half), slice(half, None)
    flat = lambda x, rows: x[rows].reshape(-1, *x.shape[2:])
    x, y, w = flat(inputs, fit), flat(target, fit), flat(weight, fit)[:, None]
    gram = x.T @ (w * x) + ridge * jnp.maximum(w.sum(), 1) * jnp.eye(x.shape[1])
    weights = jnp.linalg.solve(gram, x.T @ (w * y))
    x, y, w = flat(inputs, test), flat(target, test), flat(weight, test)[:, None]
    mean = jnp.sum(w * y, axis=0) / jnp.maximum(w.sum(), 1)
    unexplained, whole = jnp.sum(w * (y - x @ weights) ** 2), jnp.sum(w * (y - mean) ** 2)
    return jnp.where(w.sum() > 0, 1 - unexplained / jnp.maximum(whole, 1e-9), jnp.nan)


_ACTION = hidden()._replace(site="action")
