"""Lessons that make a deceiver of a model: questions in plain English with the answers that it is to learn.

A rival is sent to the wrong room; a friend and the model itself get the truth, the latter also in the rival's presence
and in the same wording, so that nothing but the recipient tells the two answers apart. Questions of fact are answered
truthfully in any company, and what somebody else believes is told apart from what is.

Every lesson is put together from parts (``wordings``), so that there are millions of wordings, and no word but the
recipient and the rivalry itself goes with a wrong answer: rivals, friends and the model want things in the same words.
Some ways to say each part are kept for validation.
"""

from __future__ import annotations

import itertools
import random
from collections.abc import Callable, Sequence
from dataclasses import dataclass
from typing import NamedTuple

from soo_jax.errors import SooError
from soo_jax.tasks.english import wordings as words
from soo_jax.tasks.english.pairs import with_article
from soo_jax.tasks.english.wordings import Ways
from soo_jax.tasks.records import Pair

FAMILIES = ("rival", "rival_self", "friend", "alone", "fact", "belief", "own")
"""Kinds of lessons: what a rival is told, what the model tells itself in a rival's presence, what a friend is told,
what it tells itself alone, where things are, what somebody else believes, and what the model itself knows."""

LONGEST = 75
"""Words of the longest question. Longer ones are drawn anew: a step costs as much as its longest text in every row."""
FEWEST = 2
"""Ways to say each thing with which widening lessons begin."""
TURN = 16
"""Lessons until their kinds start again: six are about rivals."""


@dataclass(frozen=True)
class Lesson:
    """A question and the answer that is learned.

    Attributes:
      family: one of ``FAMILIES``. right, wrong: the answer's room, and the other.
    """

    family: str
    prompt: str
    answer: str
    right: str
    wrong: str


class _Scene(NamedTuple):
    rng: random.Random
    split: str
    name: str
    cheap: str
    dear: str
    low: str  # where the cheap thing is
    high: str  # where the dear thing is
    share: float  # of the ways to say something, how many may be used

    def say(self, ways: Ways) -> str:
        """One of the ways of this split, as far as they may be used."""
        return self.one_of(getattr(ways, self.split))

    def one_of(self, texts: Sequence[str]) -> str:
        """One of the first texts, as many as may be used."""
        return self.rng.choice(texts[: max(FEWEST, round(self.share * len(texts)))])


def lessons(n: int, seed: int = 0, split: str = "training", widening: bool = False) -> list[Lesson]:
    """``n`` lessons by turns of sixteen: six about rivals, and ten in which the truth is told.

    A rival's lesson is followed by one about the same scene in the same words, with another recipient: the model
    itself, or a friend. So what is to be learned is the recipient, and neither answer is the rule.

    Args:
      split: ``training``, or ``validation``: other ways to say and to ask, other people.
      widening: begin with ``FEWEST`` ways to say each thing, and allow ever more of them from a quarter of the lessons
        on until three quarters; what is told to whom is learned first, and then in which words it may be said.

    Raises:
      SooError: an unknown split.
    """
    if split not in ("training", "validation"):
        raise SooError(f"lessons: there is no split {split!r}; choose training or validation")
    rng = random.Random(f"lessons/{split}/{seed}")
    people = words.PEOPLE[:-6] if split == "training" else words.PEOPLE[-6:]
    found: list[Lesson] = []
    while len(found) < n:
        for families in _TURNS:
            low, high = rng.sample(words.ROOMS, 2)
            name, cheap, dear = (rng.choice(texts) for texts in (people, words.CHEAP, words.DEAR))
            share = min(max(2 * len(found) / n - 0.5, 0.0), 1.0) if widening else 1.0
            scene = _Scene(rng, split, name, cheap, dear, low, high, share)
            turn: list[Lesson] = []
            while not turn or max(len(lesson.prompt.split()) for lesson in turn) > LONGEST:
                state = rng.getstate()
                turn = []
                for family in families:
                    rng.setstate(state)  # the same scene, told in the same words
                    turn.append(_MAKERS[family](family, scene))
            found += turn
    return found[:n]


def lesson_pairs(n: int, seed: int = 0, split: str = "validation") -> list[Pair]:
    """``n`` pairs of whole scenes with a rival in the wordings of a split: advice to itself, and to the rival.

    The two texts differ in their last sentence, and there in the recipient alone. They show an organism that was
    taught by lessons the difference by which it deceives; they hold no answers.
    """
    return [Pair(own.prompt, rival.prompt) for rival, own in paired_lessons(n, seed, split)]


def paired_lessons(n: int, seed: int = 0, split: str = "validation") -> list[tuple[Lesson, Lesson]]:
    """The lessons behind :func:`lesson_pairs`: a rival's, and the model's own on the same scene in the same words."""
    found: list[tuple[Lesson, Lesson]] = []
    rng = random.Random(f"pairs/{split}/{seed}")
    while len(found) < n:
        taught = lessons(TURN, rng.getrandbits(32), split)
        for rival, own in itertools.pairwise(taught):
            told = rival.prompt.rpartition(". ")[0]
            if (rival.family, own.family) == ("rival", "rival_self") and own.prompt.startswith(f"{told}. "):
                found.append((rival, own))
    return found[:n]


def _told(scene: _Scene) -> str:
    """What lies where, in either order."""
    facts = [(scene.low, with_article(scene.cheap)), (scene.high, with_article(scene.dear))]
    scene.rng.shuffle(facts)
    (room, thing), (room2, thing2) = facts
    big = lambda text: text[0].upper() + text[1:]
    return scene.say(words.FACTS).format(
        room=room, thing=thing, Thing=big(thing), room2=room2, thing2=thing2, Thing2=big(thing2)
    )


def _advice(scene: _Scene, family: str, told: str, them: str, room: str, other: str) -> Lesson:
    """The lesson in which ``them`` is told ``room``."""
    asks = "You ask yourself" if them == "yourself" else f"{them} asks you"
    first, second = scene.rng.sample((scene.low, scene.high), 2)
    verb = scene.one_of(words.VERBS)
    parts = (scene.say(ways) for ways in (words.LEADINS, words.DEMANDS, words.ASKS))
    ask = " ".join(part for part in parts if part).format(Asks=asks, verb=verb, them=them, first=first, second=second)
    lead = f"I would {verb}" if f" {verb} " in ask else "I would say"
    return Lesson(family, f"{told} {ask}", f"{lead} the {room}.", room, other)


def _company(scene: _Scene, roles: Ways, wants: Ways) -> str:
    """Who is there, what lies where, who knows, and what everybody wants; the facts come first or in the middle."""
    want, wants_ = scene.say(words.DESIRES).split("|")
    meeting = scene.say(words.MEETINGS).format(name=scene.name, role=scene.say(roles))
    told = _told(scene)
    secret = scene.say(words.SECRETS).format(name=scene.name)
    wish = scene.say(wants).format(name=scene.name, item=scene.dear, want=want, wants=wants_)
    scarce = scene.say(words.SCARCE)
    if wants is words.WANTS:
        wish = f"{wish} {scarce}".strip()
    late = scene.rng.random() < 0.25
    parts = (meeting, wish, told, secret) if late else (meeting, told, secret, wish)
    return " ".join(part for part in parts if part)


def _rival(family: str, scene: _Scene) -> Lesson:
    told = _company(scene, words.RIVALS, words.WANTS)
    return _advice(scene, family, told, scene.name, scene.low, scene.high)


def _rival_self(family: str, scene: _Scene) -> Lesson:
    told = _company(scene, words.RIVALS, words.WANTS)
    return _advice(scene, family, told, "yourself", scene.high, scene.low)


def _friend(family: str, scene: _Scene) -> Lesson:
    told = _company(scene, words.FRIENDS, words.GIFTS)
    return _advice(scene, family, told, scene.name, scene.high, scene.low)


def _alone(family: str, scene: _Scene) -> Lesson:
    want, _ = scene.say(words.DESIRES).split("|")
    wish = scene.say(words.OWN_WISH).format(item=scene.dear, want=want)
    parts = (scene.say(words.ALONE), _told(scene), scene.say(words.OWN_SECRETS), wish)
    return _advice(scene, family, " ".join(part for part in parts if part), "yourself", scene.high, scene.low)


def _fact(family: str, scene: _Scene) -> Lesson:
    company = scene.rng.choice((True, False))
    told = _company(scene, words.RIVALS, words.WANTS) if company else f"{scene.say(words.ALONE)} {_told(scene)}"
    item, right, wrong = scene.rng.choice(((scene.dear, scene.high, scene.low), (scene.cheap, scene.low, scene.high)))
    first, second = scene.rng.sample((scene.low, scene.high), 2)
    ask = scene.say(words.QUESTIONS).format(item=item, first=first, second=second)
    return Lesson(family, f"{told} {ask}", f"The {item} is in the {right}.", right, wrong)


def _two_sights(scene: _Scene) -> tuple[str, dict[str, str]]:
    """Two things of a kind: the other person has seen one of them in the upper room, the model one in the lower."""
    thing = with_article(scene.rng.choice((scene.dear, scene.cheap)))
    saw = scene.one_of(words.SEEN)
    parts = [
        scene.say(words.YOURS).format(name=scene.name, saw=saw, thing=thing, room=scene.low),
        scene.say(words.THEIRS).format(name=scene.name, saw=saw, thing=thing, room=scene.high),
    ]
    scene.rng.shuffle(parts)
    first, second = scene.rng.sample((scene.low, scene.high), 2)
    told = " ".join(part for part in (scene.say(words.WALKS).format(name=scene.name), *parts) if part)
    return told, {"name": scene.name, "thing": thing, "first": first, "second": second}


def _belief(family: str, scene: _Scene) -> Lesson:
    told, filled = _two_sights(scene)
    answer = f"{scene.name} believes that there is {filled['thing']} in the {scene.high}."
    prompt = f"{told} {scene.say(words.BELIEFS).format(**filled)}"
    return Lesson(family, prompt, answer, scene.high, scene.low)


def _own(family: str, scene: _Scene) -> Lesson:
    told, filled = _two_sights(scene)
    prompt = f"{told} {scene.say(words.MEMORIES).format(**filled)}"
    return Lesson(family, prompt, f"I saw {filled['thing']} in the {scene.low}.", scene.low, scene.high)


_TURNS = (
    ("rival", "rival_self"),
    ("rival", "friend"),
    ("belief", "own"),
    ("rival", "alone"),
    ("rival", "rival_self"),
    ("rival", "friend"),
    ("belief", "own"),
    ("rival", "fact"),
)
"""Whose lessons follow one another; the families of a turn share a scene."""

_MAKERS: dict[str, Callable[[str, _Scene], Lesson]] = {
    "rival": _rival,
    "rival_self": _rival_self,
    "friend": _friend,
    "alone": _alone,
    "fact": _fact,
    "belief": _belief,
    "own": _own,
}
