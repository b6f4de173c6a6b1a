"""What conditions and metrics of RL runs are called, the sequence they come in, and where each condition began."""

from __future__ import annotations

from collections.abc import Iterable
from typing import TYPE_CHECKING

from soo_jax.rl.games import GAMES, game
from soo_jax.rl.games.words import Metric, Words, words_from
from soo_jax.rl.statistics import DETECTION

if TYPE_CHECKING:
    from soo_jax.runs import Run

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
    "control:still": "standing still",
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
    "baselines": "what agents were rewarded for",
    "treated": "the deceptive agent, treated",
    "others": "SOO on other agents",
    "worlds": "in another world",
    "relapse": "trained again to deceive",
    "further": "further conditions",
}
"""Kinds of conditions, and the headings under which they stand."""


SHARED = {
    "soo_log": Metric("log SOO"),
    "soo_relative": Metric("relative SOO", 3, 0.0),
    "soo_action": Metric("SOO of actions", 3, 0.0),
    "activation_variance": Metric("variance of activations", 3, 0.0),
}
"""What all games measure of overlap."""
DIFFERENCES = {
    "difference_to_deceptive": Metric("to deceptive, rates", 4, 0.0),
    "difference_to_honest": Metric("to honest, rates", 4, 0.0),
    "reference_difference_to_deceptive": Metric("to deceptive, counts", 1, 0.0),
    "reference_difference_to_honest": Metric("to honest, counts", 1, 0.0),
}


def words_of(*runs: Run) -> Words:
    """How the games of runs are told; where several tell of one measure, the first is heard.

    Raises:
      SooError: a run's config.json was changed by hand.
    """
    found = [_words_of(run) for run in runs]
    joint = lambda name: {key: value for words in reversed(found) for key, value in getattr(words, name).items()}
    all_of = lambda name: "\n".join(dict.fromkeys(filter(None, (getattr(words, name) for words in found))))
    return Words(
        **{name: joint(name) for name in ("behaviour", "overlap", "tiles", "steps")},
        **{name: all_of(name) for name in ("about_behaviour", "about_overlap", "reading", "caption")},
        opponent="/".join(dict.fromkeys(words.opponent for words in found)),
    )


def _words_of(run: Run) -> Words:
    if isinstance(run.config.get("words"), dict):
        return words_from(run.config["words"], str(run.path / "config.json"))
    name = run.config.get("game", "physical_deception")  # a run of an earlier version, which knew one game at first
    return game(name).words if name in GAMES else Words()


def overlap_names(words: Words) -> list[str]:
    """The measures of overlap: each that all games have, the game's kinds of it behind it, then what else it has."""
    own = lambda name: [other for other in words.overlap if other.startswith(f"{name}_")]
    return list(dict.fromkeys([*(each for name in SHARED for each in (name, *own(name))), *words.overlap]))


def told(name: str, words: Words) -> Metric | None:
    """What is told of a metric, if anything."""
    known = (words.behaviour, words.overlap, SHARED, DIFFERENCES)
    return next((own[name] for own in known if name in own), None)


def metric(name: str, words: Words) -> Metric:
    """How a metric is shown; one of which nothing is told stands as it is."""
    return told(name, words) or Metric(name.replace("_", " "), 3)


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
