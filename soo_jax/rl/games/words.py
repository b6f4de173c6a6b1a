"""How a game's results are told: titles of its measures, what its figures are fractions of, how they are to be read.

Plain values, which every run keeps in its ``config.json``: a report needs neither the game nor its code.
"""

from __future__ import annotations

import math
from collections.abc import Mapping
from dataclasses import dataclass, field, replace
from typing import Any, NamedTuple

from soo_jax.errors import SooError

OPEN = "open"
"""In a file: an end that is infinitely far away."""


class Metric(NamedTuple):
    """How a metric is shown.

    Attributes:
      title: in tables and charts. digits: after the point. least, most: the ends that it cannot pass.
      heading: a short title for the terminal, which has room for seven; empty for none. heading_digits: there.
    """

    title: str
    digits: int = 2
    least: float = -math.inf
    most: float = math.inf
    heading: str = ""
    heading_digits: int = 2

    @property
    def fraction(self) -> bool:
        """Whether it lies between 0 and 1."""
        return (self.least, self.most) == (0.0, 1.0)

    @property
    def any_scale(self) -> bool:
        """Whether it is positive without end, so that a tiny value says more than 0.00."""
        return (self.least, self.most) == (0.0, math.inf)


@dataclass(frozen=True)
class Words:
    """How a game's results are told.

    Attributes:
      behaviour: the game's measures of what agents do, by name, the most important first.
      overlap: what it measures of overlap beside what all games measure, or under another title.
      tiles: headline figures by metric: title and unit.
      steps: what ``Game.overlaps`` are called.
      controls: fractions that a treatment is to keep, such as how well agents do their task.
      opponent: what the ones are called that agents of one number have in common.
      about_behaviour, about_overlap: below the headings of the tables. reading: how all of it is to be read, and what
        it does not show. caption: below the terminal's table.
    """

    behaviour: Mapping[str, Metric] = field(default_factory=dict)
    overlap: Mapping[str, Metric] = field(default_factory=dict)
    tiles: Mapping[str, tuple[str, str]] = field(default_factory=dict)
    steps: Mapping[str, str] = field(default_factory=lambda: {"all": "all steps"})
    opponent: str = "opponent"
    controls: tuple[str, ...] = ()
    about_behaviour: str = ""
    about_overlap: str = ""
    reading: str = ""
    caption: str = ""

    def with_controls(self, controls: tuple[str, ...]) -> Words:
        """The same with other controls."""
        return replace(self, controls=controls)

    def as_dict(self) -> dict[str, Any]:
        """Plain values for JSON; :func:`words_from` reads them back."""
        end = lambda value: OPEN if isinstance(value, float) and math.isinf(value) else value
        metrics = lambda own: {name: [end(value) for value in metric] for name, metric in own.items()}
        own = {name: getattr(self, name) for name in _TEXTS} | {"steps": dict(self.steps)}
        own |= {"controls": list(self.controls)}
        own |= {"tiles": {name: list(told) for name, told in self.tiles.items()}}
        return own | {"behaviour": metrics(self.behaviour), "overlap": metrics(self.overlap)}


_TEXTS = ("opponent", "about_behaviour", "about_overlap", "reading", "caption")


def words_from(values: Mapping[str, Any], where: str) -> Words:
    """Words as they were written.

    Raises:
      SooError: they were not written by :meth:`Words.as_dict`; ``where`` names the file.
    """

    def metric(title: str, digits: int, least: Any, most: Any, heading: str, heading_digits: int) -> Metric:
        ends = (-math.inf if least == OPEN else float(least), math.inf if most == OPEN else float(most))
        return Metric(str(title), int(digits), *ends, str(heading), int(heading_digits))

    try:
        return Words(
            behaviour={name: metric(*told) for name, told in values["behaviour"].items()},
            overlap={name: metric(*told) for name, told in values["overlap"].items()},
            tiles={name: (str(title), str(unit)) for name, (title, unit) in values["tiles"].items()},
            steps={str(name): str(told) for name, told in values["steps"].items()},
            controls=tuple(str(name) for name in values.get("controls", ())),
            **{name: str(values[name]) for name in _TEXTS},
        )
    except (KeyError, TypeError, ValueError, AttributeError) as error:
        raise SooError(f"{where}: words are not as soo-jax writes them ({error!r}); copy the file again") from error
