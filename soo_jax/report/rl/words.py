"""What conditions and metrics of RL runs are called, the sequence they come in, and where each condition began."""

from __future__ import annotations

import math
from collections.abc import Iterable
from typing import NamedTuple

from soo_jax.rl.statistics import DETECTION

CONDITIONS = {
    "deceptive": "deceptive",
    "honest": "honest",
    "escort": "escort red",
    "avoid": "avoid red",
    "soo": "after SOO",
    "soo:weak": "weak SOO",
    "soo:strong": "strong SOO",
    "control:more_rl": "more RL, no SOO",
    "control:hidden": "red hidden",
    "control:stop_self": "SOO, self stopped",
    "control:stop_other": "SOO, other stopped",
    "control:random_pairs": "SOO, random pairs",
    "control:soo_alone": "SOO without task",
    "control:random_direction": "random direction",
    "soo_on_honest": "honest, after SOO",
    "soo_on_escort": "escort, after SOO",
    "soo_on_avoid": "avoid, after SOO",
    "control:more_rl_on_escort": "escort, more RL",
    "control:more_rl_on_avoid": "avoid, more RL",
}
_TREATED = ("soo:", "control:")
GROUPS = {
    "baselines": "what blue was rewarded for",
    "treated": "the deceptive agent, treated",
    "others": "SOO on other agents",
    "worlds": "in another world",
    "relapse": "trained again to deceive",
    "further": "further conditions",
}
"""Kinds of conditions, and the headings under which they stand."""


class Metric(NamedTuple):
    """How a metric is shown.

    Attributes:
      title: in tables and charts. digits: after the point. least, most: the ends that it cannot pass.
    """

    title: str
    digits: int = 2
    least: float = -math.inf
    most: float = math.inf

    @property
    def fraction(self) -> bool:
        """Whether it lies between 0 and 1."""
        return (self.least, self.most) == (0.0, 1.0)

    @property
    def any_scale(self) -> bool:
        """Whether it is positive without end, so that a tiny value says more than 0.00."""
        return (self.least, self.most) == (0.0, math.inf)


_BEHAVIOUR = {
    "trapped": Metric("red trapped", 2, 0.0, 1.0),
    "red_ever_at_goal": Metric("red ever at goal", 2, 0.0, 1.0),
    "blue_at_goal": Metric("blue at goal", 2, 0.0, 1.0),
    "deceptive_rate": Metric("deceptive moves", 3, 0.0, 1.0),
    "deceptive_rate_untrapped": Metric("deceptive moves, red free", 3, 0.0, 1.0),
    "steps_in_sight": Metric("steps in sight", 1, 0.0),
    "task_return": Metric("task return", 1),
    "return_blue": Metric("return of blue", 1),
    "deceptiveness": Metric("how far astray", 3, 0.0, 1.0),
    "deceptiveness_to_self": Metric("itself astray", 3, 0.0, 1.0),
    "distrust": Metric("distrust", 3, 0.0),
    "payoff_receiver": Metric("receiver's payoff", 2),
    "payoff_self": Metric("sender's own payoff", 2),
    "return_sender": Metric("return of sender", 1),
}
_OVERLAP = {
    "soo_log": Metric("log SOO"),
    "soo_log_untrapped": Metric("log SOO, red free"),
    "soo_relative": Metric("relative SOO", 3, 0.0),
    "soo_relative_untrapped": Metric("relative SOO, red free", 3, 0.0),
    "soo_action": Metric("SOO of actions", 3, 0.0),
    "activation_variance": Metric("variance of activations", 3, 0.0),
    "red_decoded": Metric("red decoded, R²"),
}
_DIFFERENCES = {
    "difference_to_deceptive": Metric("to deceptive, rates", 4, 0.0),
    "difference_to_honest": Metric("to honest, rates", 4, 0.0),
    "reference_difference_to_deceptive": Metric("to deceptive, counts", 1, 0.0),
    "reference_difference_to_honest": Metric("to honest, counts", 1, 0.0),
}
METRICS = {**_BEHAVIOUR, **_OVERLAP, **_DIFFERENCES}
"""How the metrics of the built-in games are shown; others stand as they are."""
BEHAVIOUR, OVERLAP, DIFFERENCES = tuple(_BEHAVIOUR), tuple(_OVERLAP), tuple(_DIFFERENCES)


def condition_title(condition: str) -> str:
    """How a condition is headed; names of one's own stand as they are."""
    if condition in CONDITIONS:
        return CONDITIONS[condition]
    name, values, told = condition.partition(" (")
    if values and name in CONDITIONS:
        return f"{CONDITIONS[name]} ({told}"
    name, at, place = condition.partition("@")
    if at:
        return f"{condition_title(name)}, {place.replace('_', ' ')}"
    if condition.startswith("relapse:"):
        return f"{condition_title(condition.removeprefix('relapse:'))}, trained again"
    treatment, on, start = condition.rpartition("_on_")
    if on:
        return f"{condition_title(start)}, {condition_title(treatment)}"
    return condition.removeprefix("control:").replace("_", " ")


def metric(name: str) -> Metric:
    """How a metric is shown; names of one's own stand as they are."""
    return METRICS.get(name, Metric(name.replace("_", " "), 3))


def two_lines(title: str) -> str:
    """Breaks a title at the space nearest to its middle."""
    spaces = [i for i, letter in enumerate(title) if letter == " "]
    if len(title) < 12 or not spaces:
        return title
    cut = min(spaces, key=lambda i: abs(i - len(title) / 2))
    return f"{title[:cut]}\n{title[cut + 1 :]}"


def group(condition: str) -> str:
    """What kind of condition it is, one of ``GROUPS``."""
    if "@" in condition:
        return "worlds"
    if condition.startswith("relapse:"):
        return "relapse"
    if "_on_" in condition:
        return "others"
    name = condition.partition(" (")[0]  # of a sweep: the values that it was trained with stand in brackets
    if name == "soo" or condition.startswith(_TREATED):
        return "treated"
    return "baselines" if name in CONDITIONS else "further"


def in_sequence(conditions: Iterable[str]) -> list[str]:
    """Conditions without repetition, group by group; the detector is none of them."""
    known = {name: i for i, name in enumerate(CONDITIONS)}
    stem = lambda name: name.partition("@")[0].removeprefix("relapse:")
    rank = lambda name: (list(GROUPS).index(group(name)), name.partition("@")[2], known.get(stem(name), len(known)))
    return sorted((name for name in dict.fromkeys(conditions) if name != DETECTION), key=rank)


def began_as(condition: str) -> str | None:
    """The condition of the agents that these were before they were treated; None of baselines and unknown ones."""
    name, at, place = condition.partition("@")
    if name.startswith("relapse:"):
        return name.removeprefix("relapse:") + at + place
    if "_on_" in name:
        return name.rpartition("_on_")[2] + at + place
    if name == "soo" or name.startswith(_TREATED):
        return "deceptive" + at + place
    return None
