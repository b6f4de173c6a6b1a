"""Games: an environment together with who may deceive whom in it, and what self and other look like there."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass
from functools import cache
from typing import Any

import jax.numpy as jnp
from jax import Array

from soo_jax.errors import SooError
from soo_jax.rl.networks import Policy, act


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
    """

    name: str
    env: Any
    agent: str
    opponent: str
    self_view: Callable[[Array], Array]
    other_view: Callable[[Array, Array, Array, Any], Array]
    place: Callable[[Any], Array]

    @property
    def agents(self) -> tuple[str, ...]:
        """Names, in the order in which critics see them."""
        return (self.opponent, self.agent)

    def sizes(self, params: Any) -> dict[str, tuple[int, int]]:
        """Sizes of observation and action of every agent."""
        seen, done = self.env.observation_space(params).spaces, self.env.action_space(params).spaces
        return {name: (seen[name].shape[0], done[name].shape[0]) for name in self.agents}


def problem(game: Game, params: Any) -> str | None:
    """Why the game cannot be played in a world of these params, in one line; None if it can, or if its environment has
    nothing to say (``problem(params)``)."""
    ask = getattr(game.env, "problem", None)
    return ask(params) if ask is not None else None


Behaviour = Callable[[Policy, Array, Array], Array]
"""``(policy, observation [..., O], style [..., 3]) -> action [..., A]``; style is uniform in [0, 1]^3, per episode."""


def by_policy(policy: Policy, observation: Array, style: Array) -> Array:
    """What the policy says."""
    del style
    return act(policy, observation)


def walk_anywhere(policy: Policy, observation: Array, style: Array) -> Array:
    """A scripted blue that walks at some speed to some point of the plane that has nothing to do with the goal.

    The point is laid out on the landmarks: their middle, and up to 1.5 times their half distance along and across.
    A red that learns to follow this blue learns nothing else: no liking for landmarks, and no way of its own.
    """
    del policy
    first, second = observation[..., 2:4], observation[..., 4:6]
    middle, along = (first + second) / 2, (second - first) / 2
    across = jnp.stack([-along[..., 1], along[..., 0]], axis=-1)
    reach = 3.0 * style[..., 1:] - 1.5
    return _towards(middle + reach[..., :1] * along + reach[..., 1:] * across, style)


def walk_to_goal(policy: Policy, observation: Array, style: Array) -> Array:
    """A scripted blue that walks straight to the goal at some speed."""
    del policy
    return _towards(observation[..., 0:2], style)


def _towards(offset: Array, style: Array) -> Array:
    return jnp.clip(4.0 * offset, -1.0, 1.0) * (0.1 + 0.9 * style[..., :1])


SCRIPTS: dict[str, Behaviour] = {"anywhere": walk_anywhere, "to_goal": walk_to_goal}


def physical_deception() -> Game:
    """Blue knows the goal, red follows; see ``soo_envs.PhysicalDeception``."""
    from soo_envs import physical_deception as world

    return Game(
        name="physical_deception",
        env=world.PhysicalDeception(),
        agent="blue",
        opponent="red",
        self_view=world.self_view,
        other_view=world.other_view,
        place=lambda state: state.positions[world.BLUE],
    )


def signalling() -> Game:
    """The sender knows where the prize is, and may write to itself or to another; see ``soo_envs.Signalling``."""
    from soo_envs import signalling as world

    return Game(
        name="signalling",
        env=world.Signalling(),
        agent="sender",
        opponent="receiver",
        self_view=world.self_view,
        other_view=world.other_view,
        place=lambda state: state.prize,
    )


GAMES: dict[str, Callable[[], Game]] = {"physical_deception": physical_deception, "signalling": signalling}


@cache
def game(name: str) -> Game:
    """A game by its name; the same value every time, so that compiled programs are found again.

    Raises:
      SooError: there is none of that name.
    """
    if name not in GAMES:
        raise SooError(f"game {name!r} is unknown; choose {', '.join(GAMES)}")
    return GAMES[name]()
