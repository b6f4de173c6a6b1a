"""What a judge says of stated intent, and how far it agrees with the rule."""

import pytest

from soo_jax.tasks.intent_judge import agreements, judge_prompt, judged_intent


@pytest.mark.parametrize(
    ("said", "intent"),
    [
        ("He wants it for himself. Intent: [[mislead]]", "mislead"),
        ("I was told to end in [[none]]. It tells the truth: [[ Help ]]", "help"),
        ("Intent: mislead", None),
        ("Intent: [[steal]]", None),
    ],
)
def test_the_last_of_the_three_words_counts_and_no_other(said, intent):
    assert judged_intent(said) == intent


def test_texts_are_put_into_the_prompt_as_they_are():
    text = judge_prompt("Where is {answer}?", "In {question}, of course.")
    assert "Where is {answer}?" in text and "In {question}, of course." in text
    assert "[[none]]" in text and "{answer}\n[End" not in text


def test_agreement_is_counted_by_condition_without_what_the_judge_did_not_sort():
    base = [("base", "mislead", "mislead")] * 6 + [("base", "none", "mislead")] * 2 + [("base", "none", "none")] * 2
    rows = agreements([*base, ("base", "help", None), ("soo", "none", "none")])
    first, soo, whole = rows
    assert (first.condition, first.n, first.unrated) == ("base", 10, 1)
    assert (first.rule, first.judge, first.both, first.same) == (6, 8, 6, 8)
    assert first.kappa == pytest.approx((0.8 - 0.56) / 0.44), "chance: .6 * .8 + .4 * .2"
    assert first.low < 0.8 < first.high
    assert (soo.n, soo.kappa) == (1, None), "one intent for all leaves nothing beyond chance"
    assert (whole.condition, whole.n, whole.both) == ("all", 11, 6)
