"""The training pairs and the probe pairs of the plain-English set."""

import json
import re

import pytest
from hypothesis import given
from hypothesis import strategies as st

from soo_jax.errors import SooError
from soo_jax.tasks.english.pairs import (
    PROBE_ITEMS,
    SCENE_ROOMS,
    SCENE_TRIFLES,
    TRAINING_ITEMS,
    probe_pairs,
    scene_pairs,
    training_pairs,
    with_article,
)
from soo_jax.tasks.english.vocabulary import VOCABULARIES
from soo_jax.tasks.records import Pair, read_pairs, write_pairs

SETS = [
    pytest.param(make, extended, id=f"{make.__name__}-{'extended' if extended else 'short'}")
    for make in (training_pairs, probe_pairs)
    for extended in (False, True)
]


def _words(texts):
    return {word for text in texts for word in re.findall(r"[a-z]+", text.lower())}


@pytest.mark.parametrize(("make", "extended"), SETS)
def test_there_are_52_distinct_pairs_and_always_the_same(make, extended):
    pairs = make(extended)
    assert len(pairs) == len(set(pairs)) == 52
    assert pairs == make(extended)


@pytest.mark.parametrize(("make", "extended"), SETS)
def test_the_sides_tell_one_story_about_two_somebodies(make, extended):
    for pair in make(extended):
        assert "yourself" in pair.self_text and "Bob" not in pair.self_text
        assert "Bob" in pair.other_text and "yourself" not in pair.other_text
        # Nothing but who acts, and the verbs that agree with it, may differ: else overlap would learn something else.
        roles = {"you", "yourself", "bob", "are", "is", "have", "has", "set", "sets"}
        assert _words([pair.self_text]) - roles == _words([pair.other_text]) - roles


def test_short_pairs_end_where_self_and_other_are_told_apart():
    for pair in training_pairs() + probe_pairs():
        assert pair.self_text.endswith("to yourself") and pair.other_text.endswith("to Bob")


def test_extended_pairs_go_on_from_the_short_ones_to_where_the_answer_is_decided():
    for short, long in zip(training_pairs(), training_pairs(extended=True), strict=True):
        assert long.self_text.startswith(short.self_text) and long.other_text.startswith(short.other_text)
        assert long.self_text.endswith(" the") and long.other_text.endswith(" the")


def test_three_phrasings_are_in_use():
    frames = {
        pair.other_text.replace(with_article(item), "*")
        for pair, item in zip(training_pairs(), TRAINING_ITEMS, strict=True)
    }
    assert len(frames) == 3


@pytest.mark.parametrize("make", [training_pairs, probe_pairs, scene_pairs])
def test_texts_are_set_with_single_spaces(make):
    for pair in make(True):
        assert "  " not in pair.self_text + pair.other_text


@pytest.mark.parametrize("extended", [False, True])
def test_scene_pairs_differ_in_the_recipient_alone(extended):
    pairs = scene_pairs(extended)
    assert len(set(pairs)) == 52 and pairs == scene_pairs(extended)
    for pair in pairs:
        end = "{}? I would recommend the" if extended else "{}?"
        told = pair.self_text.removesuffix(end.format("yourself"))
        assert told == pair.other_text.removesuffix(end.format("Bob")) and told.endswith(" to ")


def test_scene_pairs_tell_of_both_places_in_both_orders():
    firsts = []
    for pair, item in zip(scene_pairs(), TRAINING_ITEMS, strict=True):
        text = pair.other_text
        (trifle,) = (t for t in SCENE_TRIFLES if f" {with_article(t)}" in text)
        rooms = {room for room in SCENE_ROOMS if re.search(rf"\b{room}\b", text)}
        assert len(rooms) == 2
        firsts.append((trifle, text.index(with_article(item)) < text.index(with_article(trifle))))
    assert len(set(firsts)) == 2 * len(SCENE_TRIFLES)  # each trifle once before and once behind its prize


def test_scene_pairs_share_no_item_word_and_no_place_with_scenarios_or_probes():
    trifles = _words(SCENE_TRIFLES)
    for words in VOCABULARIES.values():
        assert not trifles & _words(words.cheap + words.expensive)
        assert not {*SCENE_ROOMS} & {*words.rooms, *words.outdoors, *words.hiding}
    assert not trifles & _words(PROBE_ITEMS)


def test_probe_pairs_share_no_item_word_with_the_training_pairs():
    assert not _words(TRAINING_ITEMS) & _words(PROBE_ITEMS)


@given(st.lists(st.builds(Pair, *[st.text(min_size=1).filter(str.strip)] * 2), min_size=1, max_size=5))
def test_pairs_written_are_the_pairs_read(tmp_path_factory, pairs):
    path = tmp_path_factory.mktemp("pairs") / "pairs.jsonl"
    write_pairs(path, pairs)
    assert read_pairs(path) == pairs


@pytest.mark.parametrize(
    ("line", "complaint"),
    [
        ({"self": "You"}, '"other" is missing'),
        ({"self": "", "other": "Bob"}, '"self" is an empty string'),
        ({"self": ["You"], "other": "Bob"}, '"self" holds a JSON array'),
    ],
)
def test_a_pair_that_lacks_a_side_is_refused_by_line(tmp_path, line, complaint):
    path = tmp_path / "pairs.jsonl"
    path.write_text('{"self": "You", "other": "Bob"}\n' + json.dumps(line))
    with pytest.raises(SooError, match=re.escape(f"{path}, line 2: ")) as caught:
        read_pairs(path)
    assert complaint in str(caught.value)


def test_writing_no_pairs_is_refused_and_writes_nothing(tmp_path):
    with pytest.raises(SooError, match="no pairs"):
        write_pairs(tmp_path / "pairs.jsonl", [])
    assert list(tmp_path.iterdir()) == []


def test_articles_follow_the_noun():
    assert [with_article(noun) for noun in ("harp", "opal", "cufflinks", "compass")] == [
        "a harp", "an opal", "some cufflinks", "a compass",
    ]  # fmt: skip
