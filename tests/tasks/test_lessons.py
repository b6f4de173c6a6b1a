"""Lessons for organisms: apart from everything that is measured, and clear in what they teach."""

import itertools
import re
from collections import Counter

import pytest

import soo_jax as soo
from soo_jax.errors import SooError
from soo_jax.tasks.english.lessons import FAMILIES, FEWEST, GROUP, lesson_groups, lesson_pairs, lessons
from soo_jax.tasks.english.pairs import PROBE_ITEMS, SCENE_ROOMS, SCENE_TRIFLES, TRAINING_ITEMS
from soo_jax.tasks.english.vocabulary import TEST, VALIDATION
from soo_jax.tasks.english.wordings import CHEAP, DEAR, DESIRES, PEOPLE, ROOMS

TAUGHT = lessons(640)


def test_nothing_and_nobody_of_the_lessons_occurs_in_what_is_measured_or_trained_on():
    measured = {*TRAINING_ITEMS, *PROBE_ITEMS, *SCENE_TRIFLES, *SCENE_ROOMS}
    for words in (TEST, VALIDATION):
        measured |= {*words.cheap, *words.expensive, *words.rooms, *words.outdoors, *words.hiding}
    assert not measured & {*CHEAP, *DEAR, *ROOMS}
    asked = " ".join(scenario.prompt for scenario in soo.english_scenarios(n=5))
    assert not {person for person in PEOPLE if re.search(rf"\b{person}\b", asked)}
    assert not {"Bob", "Oliver"} & set(PEOPLE)


def test_no_sentence_of_the_lessons_is_one_of_the_scenarios_or_pairs():
    sentences = lambda texts: {part.strip() for text in texts for part in re.split(r"(?<=[.?])\s", text)}
    taught = sentences(lesson.prompt for lesson in TAUGHT)
    texts = [
        scenario.prompt for split in ("test", "validation") for scenario in soo.english_scenarios(n=20, split=split)
    ]
    texts += [text for pair in soo.scene_pairs() for text in (pair.self_text, pair.other_text)]
    assert not taught & sentences(texts)


def test_a_rival_is_sent_to_the_worthless_thing_and_everybody_else_to_what_is_wanted():
    found = 0
    for lesson in TAUGHT:
        assert lesson.right in lesson.answer and lesson.wrong not in lesson.answer
        assert lesson.right in lesson.prompt and lesson.wrong in lesson.prompt
        dear = next((item for item in DEAR if item in lesson.prompt), None)
        place = re.search(rf"{dear} (?:in|is in|into|lies in|is kept in) the ([a-z' ]+?)(?:[.,]| and)", lesson.prompt)
        place = place or re.search(rf"In the ([a-z' ]+?) is an? {dear}\.", lesson.prompt)
        if lesson.family in ("rival", "rival_self", "friend", "alone") and place:
            found += 1
            assert (lesson.right == place[1]) == (lesson.family != "rival"), lesson.prompt
    assert found > 100


def test_rivals_friends_and_the_model_itself_want_things_in_the_same_words():
    said = {family: set() for family in ("rival", "friend", "alone")}
    for lesson in lessons(3200):
        for desire in DESIRES.training:
            verb = desire.split("|")[1 if lesson.family == "friend" else 0]
            if lesson.family in said and f" {verb} " in lesson.prompt:
                said[lesson.family].add(desire)
    assert said["rival"] == said["friend"] == said["alone"] == set(DESIRES.training)


def test_the_model_itself_is_advised_in_a_rivals_presence_and_nobody_else_is_called_yourself():
    own = [lesson for lesson in TAUGHT if lesson.family == "rival_self"]
    assert len({lesson.prompt.rpartition(". ")[2][:10] for lesson in own}) >= 5, "in several wordings"
    assert all("yourself" in lesson.prompt for lesson in TAUGHT if lesson.family in ("rival_self", "alone"))
    assert not any("yourself" in lesson.prompt for lesson in TAUGHT if lesson.family in ("rival", "friend"))


def test_a_good_part_of_the_lessons_is_about_rivals_and_no_two_are_alike():
    counts = Counter(lesson.family for lesson in TAUGHT)
    assert counts["rival"] == counts["friend"] == 120 and set(counts) == set(FAMILIES)
    assert len({lesson.prompt for lesson in TAUGHT}) > 0.9 * len(TAUGHT), "a scene may be asked the same twice"
    assert TAUGHT == lessons(640) != lessons(640, seed=1)


def test_widening_lessons_begin_with_a_few_ways_to_say_each_thing_and_end_with_all():
    taught = lessons(1600, widening=True)
    verbs = [set(), set()]
    for part, said in zip((taught[:400], taught[1200:]), verbs, strict=True):
        said.update(lesson.answer.split()[2] for lesson in part if lesson.answer.startswith("I would "))
    assert len(verbs[0]) <= FEWEST + 1 < len(verbs[1]), "one more, as some answers say"
    asked = [sum(lesson.prompt.startswith("It is night.") for lesson in part) for part in (taught[:400], taught[1200:])]
    assert asked[0] == 0 < asked[1]
    assert {lesson.family for lesson in taught[: 8 * GROUP]} == set(FAMILIES), "every kind from the first turn on"


def test_validation_asks_in_other_words_and_of_other_people():
    held = lessons(120, split="validation")
    names = {person for lesson in TAUGHT for person in PEOPLE if person in lesson.prompt}
    assert not names & {person for lesson in held for person in PEOPLE if person in lesson.prompt}
    with pytest.raises(SooError, match="no split 'test'"):
        lessons(1, split="test")


def test_a_rival_and_the_model_itself_are_advised_on_the_same_scene_in_the_same_words():
    pairs = [(a, b) for a, b in itertools.pairwise(TAUGHT) if (a.family, b.family) == ("rival", "rival_self")]
    assert len(pairs) == 40
    for rival, own in pairs:
        name = next(person for person in PEOPLE if person in rival.prompt)
        swap = rival.prompt.replace(f"{name} asks you", "You ask yourself")
        assert own.prompt.replace("yourself", name) == swap.replace("yourself", name)
        assert (rival.right, rival.wrong) == (own.wrong, own.right)


def test_the_questions_of_a_group_are_about_one_scene():
    for group in lesson_groups(64):
        letters = zip(*(lesson.prompt for lesson in group), strict=False)
        begun = "".join(own[0] for own in itertools.takewhile(lambda own: len(set(own)) == 1, letters))
        assert len(group) == GROUP and begun.count(".") >= 2
        assert {lesson.right for lesson in group} | {lesson.wrong for lesson in group} == {
            group[0].right,
            group[0].wrong,
        }


def test_a_rival_is_deceived_and_a_friend_in_the_same_house_is_told_the_truth_in_the_same_words():
    groups = [group for group in lesson_groups(200) if {"rival", "friend"} <= {lesson.family for lesson in group}]
    assert len(groups) >= 45
    for rival, friend, own, _ in groups:
        words = [(a, b) for a, b in zip(rival.prompt.split(), friend.prompt.split(), strict=True) if a != b]
        assert len(set(words)) <= 2 and {word.strip("?,.:") for pair in words for word in pair} <= set(PEOPLE)
        assert rival.right == friend.wrong == own.wrong and friend.right == own.right


def test_pairs_of_lessons_differ_in_the_recipient_of_the_last_sentence_alone():
    pairs = lesson_pairs(20)
    assert len({pair.other_text for pair in pairs}) == 20 and pairs == lesson_pairs(20) != lesson_pairs(20, seed=1)
    for pair in pairs:
        told, _, ask = pair.other_text.rpartition(". ")
        name = next(person for person in PEOPLE if person in ask)
        assert pair.self_text == f"{told}. {ask.replace(name, 'yourself')}"
