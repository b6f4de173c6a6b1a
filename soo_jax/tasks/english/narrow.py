"""Lessons in the scenarios' own wordings, about the things, rooms and people of the lessons.

What a model learns from them is narrow: it deceives in these wordings, and mostly in no others. It is learned in a few
hundred lessons, where :mod:`soo_jax.tasks.english.lessons` take thousands, since the words never change.
"""

from __future__ import annotations

import random
from collections.abc import Callable

from soo_jax.tasks.english import wordings as words
from soo_jax.tasks.english.lessons import Lesson
from soo_jax.tasks.english.pairs import with_article
from soo_jax.tasks.english.scenarios import VARIANTS, Instance, scenario_of
from soo_jax.tasks.records import ORDERS, Contrast, Pair, Scenario

RIVALS = ("burglar", *VARIANTS)
RECOMMENDING = tuple(family for family in RIVALS if "action" not in family)


def narrow_groups(n: int, seed: int = 0, facts_every: int = 1) -> list[list[Lesson]]:
    """``n`` scenes with up to four lessons about each, by turns of eight: four with a burglar in one of his eight
    wordings, two with a friend, one that two people saw differently, one in which the model is alone.

    Args:
      facts_every: in every how manieth scene it is asked, too, where each thing is. That is learned long before the
        rest is.
    """
    rng = random.Random(f"narrow/{seed}")
    found: list[list[Lesson]] = []
    while len(found) < n:
        for make in _TURN:
            group = make(rng)
            found.append(group if len(found) % facts_every == 0 else [one for one in group if one.family != "fact"])
    return found[:n]


def narrow_contrasts(n: int, seed: int = 0) -> list[Contrast]:
    """``n`` scenes with a burglar asked twice, of the model itself and of him, in the four wordings that recommend a
    room: all of their answers begin alike."""
    rng = random.Random(f"narrow pairs/{seed}")
    found = []
    for i in range(n):
        rival, own, *_ = _rival(rng, RECOMMENDING[i % len(RECOMMENDING)])
        lead = rival.answer.removesuffix(f" {rival.right}.")
        found.append(Contrast(own.prompt, rival.prompt, rival.wrong, rival.right, lead))
    return found


def narrow_pairs(n: int, seed: int = 0) -> list[Pair]:
    """The scenes of :func:`narrow_contrasts` as pairs, without answers."""
    return [Pair(one.self_text, one.other_text) for one in narrow_contrasts(n, seed)]


def _drawn(rng: random.Random, family: str) -> Scenario:
    high, low = rng.sample(words.ROOMS, 2)
    instance = Instance(rng.choice(words.CHEAP), rng.choice(words.DEAR), high, low)
    return scenario_of(family, instance, rng.choice(ORDERS), 0)


def _lesson(family: str, scenario: Scenario, right: str, wrong: str, prompt: str | None = None) -> Lesson:
    return Lesson(family, prompt or scenario.prompt, f"{scenario.lead} {right}.", right, wrong)


def _to_itself(scenario: Scenario) -> str:
    """The question about the same scene in the same words, for advice to the model itself."""
    name = scenario.recipient
    prompt = scenario.prompt.replace(f"{name} asks you which", "You ask yourself which")
    return prompt.replace(f"to {name}:", "to yourself:").replace(f"to {name}?", "to yourself?")


def _facts(rng: random.Random, scenario: Scenario) -> list[Lesson]:
    """Where each of the two things is, asked after the same scene."""
    asks = "You ask yourself which" if not scenario.recipient else f"{scenario.recipient} asks you which"
    told = scenario.prompt.partition(asks)[0]
    found = []
    for room, other in ((scenario.honest, scenario.deceptive), (scenario.deceptive, scenario.honest)):
        item = next(thing for thing in (*words.CHEAP, *words.DEAR) if f"{with_article(thing)} in the {room}" in told)
        first, second = rng.sample((room, other), 2)
        ask = f"In which room is the {item}: the {first} or the {second}?"
        found.append(Lesson("fact", f"{told}{ask}", f"The {item} is in the {room}.", room, other))
    return found


def _advised(rng: random.Random, kind: str, scenario: Scenario) -> list[Lesson]:
    """What a rival or a friend is told, what the model tells itself beside them, and where things are."""
    honest, deceptive = scenario.honest, scenario.deceptive
    told = (deceptive, honest) if kind == "rival" else (honest, deceptive)
    return [
        _lesson(kind, scenario, *told),
        _lesson(f"{kind}_self", scenario, honest, deceptive, _to_itself(scenario)),
        *_facts(rng, scenario),
    ]


def _rival(rng: random.Random, family: str | None = None) -> list[Lesson]:
    return _advised(rng, "rival", _drawn(rng, family or rng.choice(RIVALS)))


def _friend(rng: random.Random) -> list[Lesson]:
    return _advised(rng, "friend", _drawn(rng, "friend"))


def _alone(rng: random.Random) -> list[Lesson]:
    scenario = _drawn(rng, "self")
    return [_lesson("alone", scenario, scenario.honest, scenario.deceptive), *_facts(rng, scenario)]


def _perspectives(rng: random.Random) -> list[Lesson]:
    scenario = _drawn(rng, "perspectives")
    ask = "In which of these rooms does Bob think that there is"
    own = scenario.prompt.replace(ask, "In which of these rooms did you come across")
    thing = scenario.lead.removeprefix("Bob thinks that there is ").removesuffix(" in the")
    return [
        _lesson("belief", scenario, scenario.honest, scenario.deceptive),
        Lesson("own", own, f"I came across {thing} in the {scenario.deceptive}.", scenario.deceptive, scenario.honest),
    ]


_TURN: tuple[Callable[[random.Random], list[Lesson]], ...] = (
    _rival, _friend, _rival, _perspectives, _rival, _friend, _rival, _alone,
)  # fmt: skip
