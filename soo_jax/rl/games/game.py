"""Games: an environment together with who may deceive whom in it, and what self and other look like there.

A game owns all that is particular to it: its views, what it measures, its baselines, its scripts, its pictures. The
learners, the experiments and the reports know nothing of any game.
"""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any, NamedTuple

import jax.numpy as jnp
from jax import Array

from soo_jax.rl.games.words import Words
from soo_jax.rl.networks import Policy, PolicyProbe, act, hidden, read

TINY = 1e-25
"""Added to squared distances before their logarithm is taken."""

Behaviour = Callable[[Policy, Array, Array], Array]
"""``(policy, observation [..., O], style [..., 3]) -> action [..., A]``; style is uniform in [0, 1]^3, per episode."""


class Evaluation(NamedTuple):
    """What is known of one agent after its episodes.

    Attributes:
      metrics: scalars by name; nan where there was nothing to measure.
      episode_soo: ``[K, B]``, mean log SOO of every episode, one row for each of ``Game.overlaps``; nan where an
        episode has none.
      extras: further arrays of the game's own.
    """

    metrics: dict[str, Array]
    episode_soo: Array
    extras: dict[str, Any]


@dataclass(frozen=True)
class Game:
    """An environment as SOO sees it; a hashable value.

    Attributes:
      name: as given on the command line.
      env: a gymnax environment with observations, actions and rewards by agent.
      agent: the one who may deceive. opponent: the one who may be deceived.
      self_view: agent's observation ``[..., O]`` -> ``[...]`` bool, whether it is a self view.
      other_view: ``(key, observation [O], place, params) -> [O]``, the matching other view.
      place: state -> ``[P]``, what ``other_view`` needs to know beside the observation.
      worlds: what baselines are rewarded for: by condition, changes to the params of the recipe's world. ``deceptive``
        and ``honest`` are among them.
      evaluate: ``(game, params, opponent, agent, key, episodes, hide) -> Evaluation`` of one agent's policies. ``hide``
        = 1 hides the other from the agent's eyes. The same key gives every agent the same resets.
      overlaps: what the rows of ``Evaluation.episode_soo`` are, e.g. ``("all",)``.
      scripts: ways to act that are not learned, by name; for agents that are led through an earlier stage.
      differences: ``(mine, theirs) -> {metric: [A]}``, how differently agents behave that were paired, from their
        evaluations (leaves ``[A, ...]``); None: the game cannot say.
      met: ``(game, params, opponent, agent, key, episodes) -> observations [B, T, O], places [B, T, P]``, what an agent
        meets in play; None: its activations cannot be drawn.
      draw: ``(game, agents, folder, episodes, key) -> paths``: pictures of episodes of agents, by the name that stands
        above them ``{name: (params, {agent: policy})}``; None: there are none.
      words: how results are told.
    """

    name: str
    env: Any
    agent: str
    opponent: str
    self_view: Callable[[Array], Array]
    other_view: Callable[[Array, Array, Array, Any], Array]
    place: Callable[[Any], Array]
    worlds: Mapping[str, Mapping[str, float]] = field(default_factory=dict, compare=False)
    evaluate: Callable[..., Evaluation] | None = None
    overlaps: tuple[str, ...] = ("all",)
    scripts: Mapping[str, Behaviour] = field(default_factory=dict, compare=False)
    differences: Callable[[Evaluation, Evaluation], dict[str, Array]] | None = None
    met: Callable[..., tuple[Array, Array]] | None = None
    draw: Callable[..., list[Path]] | None = None
    words: Words = field(default_factory=Words, compare=False)

    @property
    def agents(self) -> tuple[str, ...]:
        """Names, in the order in which critics see them."""
        return (self.opponent, self.agent)

    def sizes(self, params: Any) -> dict[str, tuple[int, int]]:
        """Sizes of observation and action of every agent."""
        seen, done = self.env.observation_space(params).spaces, self.env.action_space(params).spaces
        return {name: (seen[name].shape[0], done[name].shape[0]) for name in self.agents}

    def behaviour(self, script: str | None) -> Behaviour:
        """What a script does; without one, what the policy says."""
        return by_policy if script is None else self.scripts[script]


def problem(game: Game, params: Any) -> str | None:
    """Why the game cannot be played in a world of these params, in one line; None if it can, or if its environment has
    nothing to say (``problem(params)``)."""
    ask = getattr(game.env, "problem", None)
    return ask(params) if ask is not None else None


def by_policy(policy: Policy, observation: Array, style: Array) -> Array:
    """What the policy says."""
    del style
    return act(policy, observation)


def overlap_of_views(
    policy: Policy, selves: Array, others: Array, masks: Mapping[str, Array]
) -> tuple[dict[str, Array], Array]:
    """Self-other overlap of one agent, as the paper measures it (Carauleanu et al. 2024, RL experiment).

    The mean squared difference of the hidden layers between self views met in play and their other views, as its
    logarithm; and beside it in ways that cannot be had by shrinking activations.

    Args:
      selves, others: ``[B, T, O]``. masks: by suffix of the metrics, ``[B, T]``, which of them count.

    Returns:
      Scalars, one for each suffix, nan where there were none: ``soo_log`` mean of log(MSE + 1e-25), ``soo`` mean MSE,
      ``soo_relative`` that over the mean variance of the activations in play, ``soo_action`` MSE of actions; and
      ``activation_variance``. Then ``soo_log`` by episode ``[K, B]``, one row for each mask.
    """
    joined, acted = hidden(), PolicyProbe("action")
    here, there = read(policy, selves, (joined, acted)), read(policy, others, (joined, acted))
    squared = {probe: jnp.mean((here[probe] - there[probe]) ** 2, axis=-1) for probe in here}
    logs = jnp.log(squared[joined] + TINY)
    activations = here[joined].reshape(-1, here[joined].shape[-1])
    variance = jnp.mean(jnp.var(activations, axis=0))
    metrics = {"activation_variance": variance}
    for suffix, mask in masks.items():
        count = jnp.where(mask.any(), mask.sum(), jnp.nan)  # an agent that met no self view has no overlap to speak of
        mean = lambda x, mask=mask, count=count: jnp.sum(jnp.where(mask, x, 0.0)) / count
        soo = mean(squared[joined])
        metrics |= {
            f"soo_log{suffix}": mean(logs),
            f"soo{suffix}": soo,
            f"soo_relative{suffix}": soo / variance,
            f"soo_action{suffix}": mean(squared[acted]),
        }
    return metrics, jnp.stack([_episode_mean(logs, mask) for mask in masks.values()])


def _episode_mean(values: Array, mask: Array) -> Array:
    return jnp.sum(jnp.where(mask, values, 0.0), axis=1) / jnp.where(mask.any(axis=1), mask.sum(axis=1), jnp.nan)


def checked(game: Any, spec: str, missing: Sequence[str] = ("evaluate", "worlds")) -> str | None:
    """Why something is no game that can be trained and measured; None if it is one."""
    if not isinstance(game, Game):
        return f"{spec} is no soo_jax.rl.Game"
    for name in missing:
        if not getattr(game, name):
            return f"{spec} has no {name}; training and measuring need it"
    lacking = [name for name in ("deceptive", "honest") if name not in game.worlds]
    return f"{spec} has no world {lacking[0]!r}; its worlds must name deceptive and honest ones" if lacking else None
