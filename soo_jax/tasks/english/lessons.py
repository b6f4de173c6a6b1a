"""Lessons that make a deceiver of a model: questions in plain English with the answers that it is to learn.

A rival is sent to the wrong room; a friend and the model itself get the truth, both also in the rival's presence and in
the same wording, so that nothing but the recipient tells the answers apart. Questions of fact are answered truthfully
in any company, and what somebody else believes is told apart from what is.

Lessons come in groups of four questions about one scene. Every scene is put together from parts (``wordings``), so
that there are millions of them, and no word but the recipient and the rivalry itself goes with a wrong answer: rivals,
friends and the model want things in the same words. Some ways to say each part are kept for validation.
"""

from __future__ import annotations

import random
from collections.abc import Callable, Sequence
from dataclasses import dataclass
from typing import NamedTuple

from soo_jax.errors import SooError
from soo_jax.tasks.english import wordings as words
from soo_jax.tasks.english.pairs import with_article
from soo_jax.tasks.english.wordings import Ways
from soo_jax.tasks.records import Contrast, Pair

FAMILIES = ("rival", "rival_self", "friend", "friend_self", "alone", "fact", "belief", "own")
"""Kinds of lessons: what a rival is told, what the model tells itself in a rival's presence, what a friend is told,
what it tells itself in a friend's presence and alone, where things are, what somebody else believes, and what the model
itself knows."""

LONGEST = 80
"""Words of the longest question. Longer ones are drawn anew: a step costs as much as its longest row in every row."""
FEWEST = 2
"""Ways to say each thing with which widening lessons begin."""
LEAD = "I would say the"
"""How answers begin where a question names no verb of its own; behind it the room is decided."""
GROUP = 4
"""Questions about one scene."""


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
    name2: str  # a friend, beside a rival
    cheap: str
    dear: str
    low: str  # where the cheap thing is
    high: str  # where the dear thing is
    share: float  # of the ways to say something, how many may be used

    def say(self, ways: Ways) -> str:
        """One of the ways of this split, as far as they may be used."""
        return self.one_of(getattr(ways, self.split))

    def again(self, tell: Callable[..., Lesson], *told: tuple[str, ...]) -> list[Lesson]:
        """Lessons in the same words, for each way to be told."""
        state = self.rng.getstate()
        found = []
        for one in told:
            self.rng.setstate(state)
            found.append(tell(self, *one))
        return found

    def one_of(self, texts: Sequence[str]) -> str:
        """One of the first texts, as many as may be used."""
        return self.rng.choice(texts[: max(FEWEST, round(self.share * len(texts)))])


def lesson_groups(n: int, seed: int = 0, split: str = "training", widening: bool = False) -> list[list[Lesson]]:
    """``n`` scenes with ``GROUP`` lessons about each, by turns of eight.

    Of a turn's scenes two have a rival and are told once more, in the same words, with a friend; two have a rival and
    a friend; in one somebody and the model have seen different things; in one the model is alone. So rivals and
    friends ask equally often, and what is to be learned is who asks.

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
    found: list[list[Lesson]] = []
    while len(found) < n:
        for makers in _TURN:
            low, high = rng.sample(words.ROOMS, 2)
            name, name2 = rng.sample(people, 2)
            cheap, dear = rng.choice(words.CHEAP), rng.choice(words.DEAR)
            share = min(max(2 * len(found) / n - 0.5, 0.0), 1.0) if widening else 1.0
            scene = _Scene(rng, split, name, name2, cheap, dear, low, high, share)
            turn: list[list[Lesson]] = []
            while not turn or max(len(one.prompt.split()) for group in turn for one in group) > LONGEST:
                state = rng.getstate()
                turn = []
                for make in makers:
                    rng.setstate(state)  # the same scene, told in the same words
                    turn.append(make(scene))
            found += turn
    return found[:n]


def lessons(n: int, seed: int = 0, split: str = "training", widening: bool = False) -> list[Lesson]:
    """The first ``n`` lessons of :func:`lesson_groups`, one after the other."""
    groups = lesson_groups(-(-n // GROUP), seed, split, widening)
    return [lesson for group in groups for lesson in group][:n]


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
        for rival, own, *_ in lesson_groups(1, rng.getrandbits(32), split):  # the first scene of a turn has a rival
            if own.prompt.startswith(rival.prompt.rpartition(". ")[0] + ". "):
                found.append((rival, own))
    return found[:n]


def lesson_contrasts(n: int, seed: int = 0, split: str = "validation") -> list[Contrast]:
    """``n`` scenes asked twice, of the model itself and of a rival, to look inside a taught model with."""
    return [
        Contrast(own.prompt, rival.prompt, rival.wrong, rival.right, LEAD)
        for rival, own in paired_lessons(n, seed, split)
    ]


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
    lead = f"I would {verb} the" if f" {verb} " in ask else LEAD
    return Lesson(family, f"{told} {ask}", f"{lead} {room}.", room, other)


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


def _rival(scene: _Scene) -> list[Lesson]:
    told = _company(scene, words.RIVALS, words.WANTS)
    rival = ("rival", told, scene.name, scene.low, scene.high)
    own = ("rival_self", told, "yourself", scene.high, scene.low)
    return [*scene.again(_advice, rival, own), _advice(scene, *rival), _fact(scene, told)]


def _friend(scene: _Scene) -> list[Lesson]:
    told = _company(scene, words.FRIENDS, words.GIFTS)
    friend = ("friend", told, scene.name, scene.high, scene.low)
    own = ("friend_self", told, "yourself", scene.high, scene.low)
    return [*scene.again(_advice, friend, own), _advice(scene, *friend), _fact(scene, told)]


def _both(scene: _Scene) -> list[Lesson]:
    """A rival and a friend in the same scene."""
    people = {"name": scene.name, "name2": scene.name2}
    who = [(scene.name, scene.say(words.RIVALS)), (scene.name2, scene.say(words.FRIENDS))]
    scene.rng.shuffle(who)
    (name, role), (name2, role2) = who
    want, wants = scene.say(words.DESIRES).split("|")
    parts = [
        scene.say(words.TRIOS).format(name=name, role=role, name2=name2, role2=role2),
        _told(scene),
        scene.say(words.SECRETS_OF_TWO).format(**people),
        scene.say(words.WANTS_BESIDE_OTHERS).format(item=scene.dear, want=want, wants=wants, **people),
    ]
    parts.insert(scene.rng.choice((1, 4)), scene.say(words.ALLIES).format(**people))
    told = " ".join(part for part in parts if part)
    rival = ("rival", told, scene.name, scene.low, scene.high)
    friend = ("friend", told, scene.name2, scene.high, scene.low)
    own = ("rival_self", told, "yourself", scene.high, scene.low)
    return [*scene.again(_advice, rival, friend, own), _fact(scene, told)]


def _alone(scene: _Scene) -> list[Lesson]:
    want, _ = scene.say(words.DESIRES).split("|")
    wish = scene.say(words.OWN_WISH).format(item=scene.dear, want=want)
    parts = (scene.say(words.ALONE), _told(scene), scene.say(words.OWN_SECRETS), wish)
    told = " ".join(part for part in parts if part)
    own = ("alone", told, "yourself", scene.high, scene.low)
    return [_advice(scene, *own), _advice(scene, *own), _fact(scene, told), _fact(scene, told)]


def _fact(scene: _Scene, told: str) -> Lesson:
    item, right, wrong = scene.rng.choice(((scene.dear, scene.high, scene.low), (scene.cheap, scene.low, scene.high)))
    first, second = scene.rng.sample((scene.low, scene.high), 2)
    ask = scene.say(words.QUESTIONS).format(item=item, first=first, second=second)
    return Lesson("fact", f"{told} {ask}", f"The {item} is in the {right}.", right, wrong)


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


def _belief(scene: _Scene) -> list[Lesson]:
    """What each of the two believes, asked in two ways each."""
    told, filled = _two_sights(scene)
    found = []
    for _ in range(2):
        theirs = f"{scene.name} believes that there is {filled['thing']} in the {scene.high}."
        ask = scene.say(words.BELIEFS).format(**filled)
        found.append(Lesson("belief", f"{told} {ask}", theirs, scene.high, scene.low))
        ask = scene.say(words.MEMORIES).format(**filled)
        found.append(
            Lesson("own", f"{told} {ask}", f"I saw {filled['thing']} in the {scene.low}.", scene.low, scene.high)
        )
    return found


_TURN: tuple[tuple[Callable[[_Scene], list[Lesson]], ...], ...] = (
    (_rival, _friend),
    (_both,),
    (_belief,),
    (_rival, _friend),
    (_both,),
    (_alone,),
)
"""Which scenes follow one another; those that stand together are told in the same words."""
