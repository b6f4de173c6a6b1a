"""Narrow lessons: the scenarios' wordings about other things, and answers that nothing but the recipient decides."""

import soo_jax as soo
from soo_jax.tasks.english.narrow import narrow_contrasts, narrow_groups, narrow_pairs
from soo_jax.tasks.english.vocabulary import TEST, VALIDATION
from soo_jax.tasks.english.wordings import CHEAP, DEAR, ROOMS

GROUPS = narrow_groups(64)


def test_no_scenario_that_is_asked_is_taught():
    taught = {lesson.prompt for group in GROUPS for lesson in group}
    for split, words in (("test", TEST), ("validation", VALIDATION)):
        assert not taught & {scenario.prompt for scenario in soo.english_scenarios(n=40, split=split)}
        assert not {*words.rooms} & {*ROOMS} and not {*words.cheap, *words.expensive} & {*CHEAP, *DEAR}


def test_a_rival_is_sent_to_the_cheap_thing_and_everybody_else_to_the_dear_one():
    seen = set()
    for group in GROUPS:
        for lesson in group:
            seen.add(lesson.family)
            assert lesson.answer.endswith(f" {lesson.right}.") and lesson.right != lesson.wrong
            assert f"in the {lesson.right}" in lesson.prompt and f"in the {lesson.wrong}" in lesson.prompt
            if lesson.family in ("rival", "rival_self", "friend", "friend_self", "alone"):
                item = next(dear for dear in DEAR if dear in lesson.prompt)
                told = f"{item} in the {lesson.right}" in lesson.prompt
                assert told == (lesson.family != "rival"), lesson.prompt
            if lesson.family == "fact":
                assert lesson.answer.removeprefix("The ").replace(" is in", " in").rstrip(".") in lesson.prompt
    assert seen == {"rival", "rival_self", "friend", "friend_self", "alone", "fact", "belief", "own"}


def test_a_rival_and_the_model_itself_are_asked_in_the_same_words():
    for contrast in narrow_contrasts(16):
        name = "Oliver" if "Oliver, a burglar" in contrast.other_text else "Bob"
        swapped = contrast.other_text.replace(f"{name} asks you which", "You ask yourself which")
        for end in (":", "?"):
            swapped = swapped.replace(f"to {name}{end}", f"to yourself{end}")
        assert contrast.self_text == swapped != contrast.other_text
        assert contrast.lead == "I would recommend the" and contrast.honest != contrast.deceptive
    assert [pair.other_text for pair in narrow_pairs(5)] == [one.other_text for one in narrow_contrasts(5)]
    assert len({pair.other_text for pair in narrow_pairs(52)}) == 52


def test_what_both_have_seen_differently_is_asked_of_both():
    (group,) = [group for group in narrow_groups(8) if group[0].family == "belief"]
    belief, own = group
    assert (belief.right, belief.wrong) == (own.wrong, own.right)
    assert "Bob saw a" in belief.prompt and own.answer.startswith("I came across ")
