"""Two sets of answers to the same questions are compared as a sceptic would ask."""

import math

import numpy as np
import pytest
from scipy.stats import binomtest

from soo_jax.errors import SooError
from soo_jax.tasks.comparison import compare, detectable, holm, newcombe


def answers(outcomes, family="burglar", seed=None, control=False, intent="none"):
    """Responses of one seed: the n-th is honest if the n-th outcome is."""
    return [
        {
            "condition": "x", "seed": seed, "family": family, "order": "wrong_first" if i % 2 else "right_first",
            "index": i // 2, "control": control, "honest": f"hall {i}", "deceptive": f"attic {i}",
            "label": "honest" if one else "deceptive", "intent": intent,
        }
        for i, one in enumerate(outcomes)
    ]  # fmt: skip


def test_one_answer_a_question_is_tested_by_the_questions_that_changed():
    before, after = [1] * 10 + [0] * 30, [1] * 8 + [0] * 2 + [1] * 12 + [0] * 18
    [row] = compare(answers(before), answers(after))
    assert (row.before, row.after, row.difference, row.questions) == (25.0, 50.0, 25.0, 40)
    assert row.p == pytest.approx(binomtest(12, 14).pvalue) and row.p_holm == row.p and row.verdict == "more"
    [back] = compare(answers(after), answers(before))
    assert (back.difference, back.low, back.high) == pytest.approx((-25.0, -row.high, -row.low))
    assert back.verdict == "less"


def test_the_interval_of_paired_rates_holds_what_it_promises():
    rng, n, hits = np.random.default_rng(0), 60, 0
    for _ in range(600):
        one = rng.random(n) < 0.3
        other = np.where(rng.random(n) < 0.7, one, rng.random(n) < 0.6)  # true difference: 0.3 * (0.6 - 0.3) = 0.09
        low, high = newcombe(int((one & other).sum()), int((other & ~one).sum()), int((one & ~other).sum()), n)
        hits += low <= 0.09 <= high
    assert 0.93 <= hits / 600 <= 0.985


def test_the_interval_is_not_a_point_where_no_answer_changed():
    [row] = compare(answers([1] * 50, control=True), answers([1] * 50, control=True))
    assert row.difference == 0 and row.low < -3 and row.high > 3 and row.p == 1.0


def test_seeds_that_disagree_widen_the_interval():
    base = answers([0] * 40)
    agreed = [row for seed in range(5) for row in answers([1] * 20 + [0] * 20, seed=seed)]
    apart = [row for seed in range(5) for row in answers([1] * (4 * seed + 12) + [0] * (28 - 4 * seed), seed=seed)]
    [narrow], [wide] = compare(base, agreed), compare(base, apart)
    assert narrow.difference == wide.difference == 50.0 and narrow.seeds == (1, 5)
    assert wide.high - wide.low > narrow.high - narrow.low > 0
    assert narrow.p < 0.01 and compare(base, agreed) == compare(base, agreed)


def test_seeds_that_all_answer_alike_leave_the_uncertainty_of_the_questions():
    [row] = compare(answers([0] * 20), [one for seed in range(3) for one in answers([1] * 20, seed=seed)])
    assert row.difference == 100.0 and row.low < 90
    same = [one for seed in range(3) for one in answers([1] * 20, seed=seed, control=True)]
    [row] = compare(answers([1] * 20, control=True), same)
    assert row.low < -5 < 5 < row.high and row.verdict == "undecided"


def test_one_lucky_seed_of_five_shows_nothing():
    after = [row for seed in range(5) for row in answers([seed == 0] * 40, seed=seed)]
    [row] = compare(answers([0] * 40), after)
    assert row.difference == 20.0 and row.verdict == "undecided"


def test_a_control_is_the_same_only_if_that_was_shown():
    many, few = [1] * 400, [1] * 20
    assert compare(answers(many, control=True), answers(many, control=True))[0].verdict == "same"
    assert compare(answers(few, control=True), answers(few, control=True))[0].verdict == "undecided"
    assert compare(answers(few, control=True), answers(few, control=True), within=30)[0].verdict == "same"
    assert compare(answers(many, control=True), answers([0] * 40 + [1] * 360, control=True))[0].verdict == "less"
    assert compare(answers(many), answers(many))[0].same is None


def test_p_values_are_corrected_for_the_families_of_the_table():
    assert holm([0.01, 0.04, 0.03]) == pytest.approx([0.03, 0.06, 0.06])
    assert holm([0.5, 0.9]) == [1.0, 1.0]
    before = answers([0] * 40) + answers([0] * 40, "name")
    after = answers([1] * 6 + [0] * 34) + answers([1] * 20 + [0] * 20, "name")
    first, second = compare(before, after)
    assert (first.family, second.family) == ("burglar", "name")
    assert first.p_holm == pytest.approx(max(first.p, 2 * second.p)) and second.p_holm == pytest.approx(2 * second.p)


def test_acts_that_mean_to_mislead_are_not_honest_throughout():
    after = answers([1] * 20, intent="mislead") + answers([1] * 20, "self", control=True, intent=None)
    before = answers([0] * 20) + answers([1] * 20, "self", control=True, intent=None)
    assert [row.after for row in compare(before, after, "honest")] == [100.0, 100.0]
    [row] = compare(before, after, "throughout")
    assert (row.family, row.after, row.verdict) == ("burglar", 0.0, "undecided")


def test_questions_that_differ_or_are_not_shared_are_refused():
    other = [{**row, "honest": "another hall"} for row in answers([1] * 4)]
    with pytest.raises(SooError, match="is not the same in both"):
        compare(answers([1] * 4), other)
    with pytest.raises(SooError, match="share no family"):
        compare(answers([1] * 4), answers([1] * 4, "name"))
    later = [{**row, "index": row["index"] + 9} for row in answers([1] * 4)]
    with pytest.raises(SooError, match="share no question of the family 'burglar'"):
        compare(answers([1] * 4), later)
    with pytest.raises(SooError, match="there is no measure 'kind'"):
        compare(answers([1] * 4), answers([1] * 4), "kind")
    with pytest.raises(SooError, match="within must be above 0"):
        compare(answers([1] * 4), answers([1] * 4), within=0)


def test_only_questions_that_both_were_asked_are_counted():
    [row] = compare(answers([0] * 20), answers([1] * 10))
    assert (row.questions, row.before, row.after) == (10, 0.0, 100.0)


def test_the_difference_that_can_be_shown_is_shown_so_often():
    rng, n = np.random.default_rng(1), 200
    points = detectable(n)
    found = 0
    for _ in range(400):
        one, other = rng.random(n) < 0.5 - points / 200, rng.random(n) < 0.5 + points / 200
        gained, lost = int((other & ~one).sum()), int((one & ~other).sum())
        found += binomtest(gained, gained + lost).pvalue < 0.05
    assert 0.7 <= found / 400 <= 0.87


def test_more_questions_and_more_seeds_show_smaller_differences():
    assert detectable(100) > detectable(400) and detectable(400) == pytest.approx(detectable(100) / 2)
    assert detectable(100, seeds=5) < detectable(100) < detectable(100, spread=20)
    assert math.isclose(detectable(500), 100 * (1.959964 + 0.841621) * math.sqrt(0.5 / 500), rel_tol=1e-4)
