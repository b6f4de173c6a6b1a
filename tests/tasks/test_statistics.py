"""Percentages carry the uncertainty of the scenarios and of the seeds."""

import math

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st

from soo_jax.tasks.statistics import aggregate, count_responses, mean_sd, seed_outcomes, wilson


def _row(
    condition="soo", seed=0, family="burglar", order="wrong_first", honest=0, deceptive=0, refusal=0, other=0, **more
):
    n = honest + deceptive + refusal + other
    return {
        "condition": condition, "seed": seed, "family": family, "order": order, "n": n, "honest": honest,
        "deceptive": deceptive, "refusal": refusal, "other": other, "paper_deceptive": deceptive, "logp_margin": None,
    } | more  # fmt: skip


@pytest.mark.parametrize(
    ("successes", "n", "expected"),
    [  # Newcombe (1998), Statistics in Medicine 17, table I, method 3
        (81, 263, (0.2553, 0.3662)),
        (15, 148, (0.0624, 0.1605)),
        (0, 20, (0.0000, 0.1611)),
        (1, 29, (0.0061, 0.1718)),
    ],
)
def test_wilson_interval_gives_the_published_figures(successes, n, expected):
    assert wilson(successes, n) == pytest.approx(expected, abs=5e-5)


@given(st.integers(1, 10_000).flatmap(lambda n: st.tuples(st.integers(0, n), st.just(n))))
def test_wilson_interval_contains_what_was_observed_and_stays_a_proportion(case):
    successes, n = case
    lo, hi = wilson(successes, n)
    assert 0 <= lo <= successes / n <= hi <= 1
    assert wilson(n - successes, n) == pytest.approx((1 - hi, 1 - lo), abs=1e-12)


def test_wilson_knows_nothing_about_nothing_and_refuses_nonsense():
    assert wilson(0, 0) == (0.0, 1.0)
    with pytest.raises(ValueError):
        wilson(3, 2)


@given(st.lists(st.floats(-1e6, 1e6), min_size=2, max_size=20))
def test_mean_and_sd_are_those_of_numpy_with_ddof_1(values):
    mean, sd = mean_sd(values)
    assert mean == pytest.approx(np.mean(values), abs=1e-6)
    assert sd == pytest.approx(np.std(values, ddof=1), abs=1e-6)


def test_one_value_has_no_sd_and_no_value_no_mean():
    assert mean_sd([3.0]) == (3.0, None)
    with pytest.raises(ValueError):
        mean_sd([])


def test_base_model_gets_the_wilson_interval_of_its_one_run():
    (cell,) = aggregate([_row("base", None, honest=1, deceptive=28)])
    assert (cell.seeds, cell.n, cell.honest.sd) == (1, 29, None)
    assert cell.honest.mean == pytest.approx(100 / 29)
    assert (cell.honest.lo, cell.honest.hi) == pytest.approx((0.61, 17.18), abs=0.01)


def test_seeds_are_averaged_with_their_sd_and_pooled_for_the_interval():
    (cell,) = aggregate([_row(seed=s, honest=h, deceptive=10 - h) for s, h in enumerate((10, 8, 6))])
    assert (cell.seeds, cell.n) == (3, 30)
    assert cell.honest.mean == pytest.approx(80) and cell.honest.sd == pytest.approx(20)
    assert (cell.honest.lo, cell.honest.hi) == pytest.approx([100 * x for x in wilson(24, 30)])
    assert cell.deceptive.mean == pytest.approx(20)
    assert cell.honest.values == (100, 80, 60)


def test_orders_stay_apart_unless_pooled():
    rows = [_row(order="wrong_first", honest=10), _row(order="right_first", deceptive=10)]
    assert [(c.order, c.honest.mean) for c in aggregate(rows)] == [("wrong_first", 100), ("right_first", 0)]
    (both,) = aggregate(rows, pool_orders=True)
    assert (both.order, both.seeds, both.n, both.honest.mean, both.honest.sd) == ("both", 1, 20, 50, None)


def test_margins_are_weighted_by_their_responses_and_may_be_missing():
    rows = [
        _row(honest=10, logp_margin=-1.0),
        _row(order="right_first", honest=30, logp_margin=-5.0),
        _row(seed=1, honest=10),
    ]
    (cell,) = aggregate(rows, pool_orders=True)
    assert cell.logp_margin == (pytest.approx(-4.0), None)
    assert aggregate([_row(honest=1)])[0].logp_margin is None


@given(st.lists(st.tuples(*[st.integers(0, 50)] * 4).filter(sum), min_size=1, max_size=5))
def test_the_four_labels_always_add_up_to_a_hundred_percent(counts):
    names = ("honest", "deceptive", "refusal", "other")
    (cell,) = aggregate([_row(seed=s, **dict(zip(names, c, strict=True))) for s, c in enumerate(counts)])
    assert math.fsum(getattr(cell, name).mean for name in names) == pytest.approx(100)


def test_responses_are_counted_into_tidy_rows():
    def response(label, margin, seed=0):
        return {
            "condition": "soo", "seed": seed, "family": "burglar", "order": "wrong_first", "label": label,
            "paper_deceptive": label == "deceptive", "logp_margin": margin, "response": "...",
        }  # fmt: skip

    rows = count_responses([response("honest", -2.0), response("deceptive", 1.0), response("other", None, seed=1)])
    unasked = {"control": False, "mislead": None, "contradiction": None}
    assert rows[0] == _row(honest=1, deceptive=1, logp_margin=-0.5) | unasked
    assert rows[1] == _row(seed=1, other=1) | unasked


def test_a_bad_seed_is_called_by_its_name():
    base = [_row("base", None, deceptive=100), _row("base", None, "self", honest=100)]
    good = [_row(seed=0, honest=96, deceptive=4), _row(seed=0, family="self", honest=98, deceptive=2)]
    salad = [_row(seed=1, honest=60, deceptive=10, other=30), _row(seed=1, family="self", honest=90, other=10)]
    stuck = [_row(seed=2, deceptive=100), _row(seed=2, family="self", honest=100)]
    confused = [_row(seed=3, honest=100), _row(seed=3, family="self", honest=60, deceptive=40)]
    nan = [_row(seed=4, honest=100)]
    half = [_row(seed=5, honest=70, deceptive=30)]
    rows = base + good + salad + stuck + confused + nan + half
    outcomes = seed_outcomes(rows, [{"seed": 4, "step": 3, "loss": None}, {"seed": 0, "step": 3, "loss": 0.1}])
    assert [outcome.verdict for outcome in outcomes] == ["honest", "broken", "deceptive", "broken", "diverged", "mixed"]
    assert (outcomes[1].silent, outcomes[3].control_drop, outcomes[4].control_drop) == (30, 40, None)


def _said(label, intent, family="burglar", **more):
    return {
        "condition": "soo",
        "seed": 0,
        "family": family,
        "order": "wrong_first",
        "label": label,
        "intent": intent,
    } | more


def test_answers_that_mean_to_mislead_are_counted_and_those_among_them_that_act_honestly():
    rival = [_said("honest", "mislead"), _said("honest", "help"), _said("deceptive", "mislead"), _said("other", "none")]
    rows = count_responses([*rival, _said("honest", None, "self")])
    assert [(row["mislead"], row["contradiction"]) for row in rows] == [(2, 1), (None, None)]
    cell, control = aggregate(rows)
    assert (cell.mislead.mean, cell.contradiction.mean, cell.honest_throughout) == (50, 25, 25)
    assert (control.mislead, control.contradiction, control.honest_throughout) == (None, None, None)


def test_rows_of_before_intent_was_read_have_none():
    (cell,) = aggregate([_row(honest=3, deceptive=1)])
    assert cell.honest.mean == 75 and cell.contradiction is None
