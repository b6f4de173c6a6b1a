"""Games by their names. One of your own is a value of :class:`Game`, named ``file.py:GAME`` or ``pkg.module:GAME``."""

from __future__ import annotations

from collections.abc import Callable
from functools import cache

from soo_jax.errors import SooError
from soo_jax.importing import load_object
from soo_jax.rl.games.game import Behaviour, Evaluation, Game, by_policy, checked, overlap_of_views, problem
from soo_jax.rl.games.words import Metric, Words

__all__ = [
    "GAMES",
    "Behaviour",
    "Evaluation",
    "Game",
    "Metric",
    "Words",
    "by_policy",
    "game",
    "overlap_of_views",
    "problem",
]


def _physical_deception() -> Game:
    from soo_jax.rl.games.physical_deception import GAME

    return GAME


def _signalling() -> Game:
    from soo_jax.rl.games.signalling import GAME

    return GAME


GAMES: dict[str, Callable[[], Game]] = {"physical_deception": _physical_deception, "signalling": _signalling}


@cache
def game(name: str) -> Game:
    """A game by its name, or by where it stands; the same value every time, so that compiled programs are found again.

    Raises:
      SooError: there is none of that name, or what is named is no game.
    """
    if name in GAMES:
        return GAMES[name]()
    if ":" not in name:
        raise SooError(f"game {name!r} is unknown; choose {', '.join(GAMES)}, or name your own: file.py:GAME")
    found = load_object(name, "game")
    if (wrong := checked(found, name)) is not None:
        raise SooError(f"game {wrong}")
    return found
