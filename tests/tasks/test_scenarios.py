"""The plain-English scenarios: both orders, no leak between splits or from training, files of a user's own."""

import hashlib
import json
import re

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from soo_jax.errors import SooError
from soo_jax.tasks.english.pairs import PROBE_ITEMS, TRAINING_ITEMS
from soo_jax.tasks.english.scenarios import FAMILIES, VARIANTS, english_scenarios, honesty_prompt
from soo_jax.tasks.english.vocabulary import TEST, VALIDATION
from soo_jax.tasks.records import CONTROLS, ORDERS, Scenario, read_scenarios, write_scenarios
from soo_jax.tasks.suffixes import SUFFIXES, with_suffix

ALL = english_scenarios(n=40)


def _words(names):
    return {word for name in names for word in re.findall(r"[a-z]+", name.lower())}


def _places(vocabulary):
    return set(vocabulary.rooms + vocabulary.outdoors + vocabulary.hiding)


def _first_mention(text, place):
    return re.search(rf"\b{place}\b", text).start()


def test_every_family_comes_n_times_in_each_order():
    assert len(FAMILIES) == 14 and len(VARIANTS) == 7
    for family in FAMILIES:
        for order in ORDERS:
            cell = [s for s in ALL if s.family == family and s.order == order]
            assert len(cell) == 40
            assert len({s.prompt for s in cell}) == 40, family


def test_both_orders_ask_about_the_same_instances():
    for family in FAMILIES:
        answers = [[(s.honest, s.deceptive, s.lead) for s in ALL if (s.family, s.order) == (family, o)] for o in ORDERS]
        assert answers[0] == answers[1]


@pytest.mark.parametrize("family", FAMILIES)
def test_the_order_says_which_place_comes_first_in_facts_and_in_question(family):
    for s in (s for s in ALL if s.family == family):
        first, second = s.deceptive, s.honest
        if s.order == "right_first":
            first, second = second, first
        assert _first_mention(s.prompt, first) < _first_mention(s.prompt, second)
        assert f"the {first} or the {second}" in s.prompt
        assert f"the {second} or the {first}" not in s.prompt


@pytest.mark.parametrize("family", FAMILIES)
def test_every_scenario_has_a_lead_after_which_only_the_place_is_missing(family):
    for s in (s for s in ALL if s.family == family):
        assert s.lead.endswith(" the")
        assert s.honest != s.deceptive
        assert not re.search(rf"\b({s.honest}|{s.deceptive})\b", s.lead)


@pytest.mark.parametrize("family", ["burglar", *VARIANTS])
def test_variants_differ_from_the_burglar_in_their_axes_alone(family):
    variant = english_scenarios([family], n=5)
    burglar = english_scenarios(["burglar"], n=5)
    axes = family.split("_")
    for theirs, ours in zip(variant, burglar, strict=True):
        expected = ours.prompt
        expected = expected.replace("Bob", "Oliver") if "name" in axes else expected
        expected = expected.replace("plan to steal", "want") if "objective" in axes else expected
        expected = expected.replace("recommend", "mention") if "action" in axes else expected
        assert theirs.prompt == expected
        assert theirs.recipient == ("Oliver" if "name" in axes else "Bob")


def test_half_of_the_factual_questions_ask_for_the_cheap_thing():
    asked = [re.search(r"In which room is the (.*):", s.prompt)[1] for s in ALL if s.family == "factual"]
    assert sum(thing in TEST.cheap for thing in asked) == sum(thing in TEST.expensive for thing in asked) == 40


def test_in_perspectives_the_right_answer_is_what_bob_saw():
    for s in ALL:
        if s.family == "perspectives":
            assert re.search(rf"Bob saw an? .* in the {s.honest}\.", s.prompt)
            assert re.search(rf"You came across an? .* in the {s.deceptive},", s.prompt)


def test_no_item_word_is_shared_between_training_probe_validation_and_test():
    sets = [_words(TRAINING_ITEMS), _words(PROBE_ITEMS)]
    sets += [_words(v.cheap + v.expensive) for v in (TEST, VALIDATION)]
    for i, one in enumerate(sets):
        for other in sets[i + 1 :]:
            assert not one & other


def test_no_place_is_shared_between_validation_and_test():
    assert not _places(TEST) & _places(VALIDATION)
    assert _words(_places(TEST)) & _words(_places(VALIDATION)) <= {"room"}


def test_things_are_not_places_so_that_an_answer_cannot_be_misread():
    for vocabulary in (TEST, VALIDATION):
        assert not _words(_places(vocabulary)) & _words(vocabulary.cheap + vocabulary.expensive)


def test_scenarios_depend_on_seed_and_split_and_on_nothing_else():
    text = "\n".join(s.prompt for s in english_scenarios(n=3, seed=7))
    # A fixed hash, because published numbers refer to these very texts: change it only with the wording.
    assert hashlib.sha256(text.encode()).hexdigest()[:16] == "1cd27b6ac28b06ee"
    assert english_scenarios(n=3, seed=7) != english_scenarios(n=3, seed=8)
    assert english_scenarios(n=3, split="validation") != english_scenarios(n=3)


def test_a_longer_set_begins_with_the_shorter_one():
    short, long = (english_scenarios(["burglar"], n=n)[:5] for n in (5, 50))
    assert short == long


def test_suffixes_end_the_prompt_and_speak_of_the_lead():
    scenario = english_scenarios(["action"], n=1)[0]
    assert with_suffix(scenario, "none") == scenario
    assert with_suffix(scenario, "i_would").prompt.endswith('starts with "I would mention the".')
    assert with_suffix(scenario, "room_only").prompt == scenario.prompt + SUFFIXES["room_only"]
    bare = Scenario("mine", "wrong_first", "Where?", "study", "kitchen")
    assert '"I would"' in with_suffix(bare, "i_would").prompt
    with pytest.raises(SooError, match="choose among i_would, room_only, none"):
        with_suffix(scenario, "loud")


def test_the_honesty_prompt_goes_to_whoever_asks_and_nowhere_else():
    for scenario in english_scenarios(n=1):
        honest = honesty_prompt(scenario)
        if scenario.family in {"perspectives", "self", "factual"}:
            assert honest == scenario
        else:
            assert honest.prompt.endswith(scenario.prompt)
            assert f"honest with {scenario.recipient}." in honest.prompt.removesuffix(scenario.prompt)


def test_controls_are_the_families_without_a_rival():
    for scenario in english_scenarios([family for family in FAMILIES if family in CONTROLS], n=2):
        assert "burglar" not in scenario.prompt and "rival" not in scenario.prompt


@pytest.mark.parametrize(
    ("arguments", "complaint"),
    [
        ({"families": ["burgler"]}, "no family 'burgler'; choose among burglar"),
        ({"split": "train"}, "choose test or validation"),
        ({"n": 0}, "at least 1"),
        ({"families": ["escape_room"], "n": 10**6}, "choose a smaller n"),
    ],
)
def test_impossible_requests_are_refused_with_what_would_be_possible(arguments, complaint):
    with pytest.raises(SooError, match=complaint):
        english_scenarios(**arguments)


_text = st.text(min_size=1).filter(str.strip)
_scenario = st.builds(
    Scenario, _text, st.sampled_from(ORDERS), _text, st.just("study"), st.just("kitchen"), st.text(), st.text()
)


@settings(max_examples=30)
@given(st.lists(_scenario, min_size=1, max_size=4))
def test_scenarios_written_are_the_scenarios_read(tmp_path_factory, scenarios):
    path = tmp_path_factory.mktemp("scenarios") / "scenarios.jsonl"
    write_scenarios(path, scenarios)
    assert read_scenarios(path) == scenarios


GOOD = {"family": "x", "order": "wrong_first", "prompt": "Where?", "honest": "study", "deceptive": "kitchen"}


def test_recipient_and_lead_may_be_left_out(tmp_path):
    path = tmp_path / "mine.jsonl"
    path.write_text(json.dumps(GOOD))
    assert read_scenarios(path) == [Scenario("x", "wrong_first", "Where?", "study", "kitchen", "", "")]


@pytest.mark.parametrize(
    ("change", "complaint"),
    [
        ({"order": "first"}, "rather than wrong_first or right_first"),
        ({"honest": "Kitchen"}, "are the same"),
        ({"deceptive": "?!"}, "no word that an answer could name"),
        ({"prompt": None}, '"prompt" holds a JSON null'),
        ({"lead": 4}, '"lead" holds a JSON number'),
    ],
)
def test_a_bad_scenario_is_refused_by_line(tmp_path, change, complaint):
    path = tmp_path / "mine.jsonl"
    path.write_text(json.dumps(GOOD) + "\n" + json.dumps(GOOD | change))
    with pytest.raises(SooError, match=re.escape(f"{path}, line 2: ")) as caught:
        read_scenarios(path)
    assert complaint in str(caught.value)
