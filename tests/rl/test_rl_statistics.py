"""Means, spreads and intervals of agents are what a textbook gives."""

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st
from scipy import stats

from soo_jax.rl.statistics import aggregate, changes, never_deceived, roc, summarise


def _row(condition, red, seed, value, metric="trapped"):
    return {"condition": condition, "red": red, "seed": seed, "metric": metric, "value": value}


def test_with_one_red_the_interval_is_students_t_over_agents():
    values = [0.1, 0.4, 0.35, 0.8]
    found = summarise(values, [2, 2, 2, 2])
    low, high = stats.t.interval(0.95, 3, np.mean(values), stats.sem(values))
    assert (found.mean, found.sd) == pytest.approx((np.mean(values), np.std(values, ddof=1)))
    assert (found.low, found.high) == pytest.approx((low, high))
    assert (found.n, found.reds, found.values) == (4, 1, tuple(values))


@given(st.lists(st.lists(st.floats(-5, 5), min_size=3, max_size=3), min_size=3, max_size=6))
def test_with_as_many_agents_for_every_red_it_is_students_t_over_the_reds_means(table):
    means = np.mean(table, axis=1)
    found = summarise(np.ravel(table).tolist(), np.repeat(np.arange(len(table)), 3).tolist())
    half = stats.t.ppf(0.975, len(table) - 1) * stats.sem(means)
    assert found.mean == pytest.approx(means.mean(), abs=1e-9)
    assert found.high - found.mean == pytest.approx(half, abs=1e-9)


def test_agents_that_only_repeat_their_red_make_no_interval_narrower():
    few = summarise([0.2, 0.5, 0.8], [0, 1, 2])
    many = summarise([0.2] * 50 + [0.5] * 50 + [0.8] * 50, [0] * 50 + [1] * 50 + [2] * 50)
    assert (many.low, many.high) == pytest.approx((few.low, few.high))


def test_two_reds_give_no_interval_however_many_agents_met_them():
    found = summarise([0.2] * 50 + [0.3] * 50, [0] * 50 + [1] * 50)
    assert (found.low, found.high) == (None, None) and found.mean == pytest.approx(0.25)


def test_one_agent_has_neither_spread_nor_interval_and_none_has_no_mean():
    one, none = summarise([3.0], [0]), summarise([None, None], [0, 1])
    assert (one.mean, one.sd, one.low, one.high, one.n) == (3.0, None, None, None, 1)
    assert np.isnan(none.mean) and (none.n, none.missing) == (0, 2)


def test_rows_are_gathered_by_condition_and_metric_and_the_detector_is_left_out():
    rows = [_row("soo", 0, 0, 1.0), _row("soo", 0, 1, 3.0), _row("soo", 0, 2, None), _row("honest", 0, 0, 7.0)]
    rows.append({"condition": "detection", "steps": "all", "episodes": 5, "metric": "auroc", "value": 0.5})
    found = aggregate(rows)
    assert list(found) == [("soo", "trapped"), ("honest", "trapped")]
    assert (found["soo", "trapped"].mean, found["soo", "trapped"].n, found["soo", "trapped"].missing) == (2.0, 2, 1)


def test_changes_are_of_the_same_agent():
    rows = [_row("deceptive", 0, seed, value) for seed, value in ((0, 0.9), (1, 0.5), (2, 0.1))]
    rows += [_row("soo", 0, 1, 0.3), _row("soo", 0, 0, 0.6), _row("soo", 1, 0, 0.0)]
    found = changes(rows, "deceptive", "soo")["trapped"]
    assert sorted(found.values) == pytest.approx([-0.3, -0.2])


def test_deceptive_agents_that_deceive_no_more_than_the_honest_are_found():
    rates = {("deceptive", 0, 0): 0.3, ("honest", 0, 0): 0.1, ("deceptive", 0, 1): 0.1, ("honest", 0, 1): 0.1}
    rates |= {("deceptive", 1, 0): 0.0}  # nobody to compare with
    assert never_deceived([_row(*who, rate, "deceptive_rate") for who, rate in rates.items()]) == [(0, 1)]


@given(st.lists(st.integers(0, 6), min_size=1, max_size=8), st.lists(st.integers(0, 6), min_size=1, max_size=8))
def test_the_area_under_the_roc_is_the_chance_that_a_positive_scores_higher(positive, negative):
    wrong, right = roc(positive, negative)
    chance = np.mean([(p > n) + 0.5 * (p == n) for p in positive for n in negative])
    assert np.trapezoid(right, wrong) == pytest.approx(chance)
    assert (wrong[0], right[0], wrong[-1], right[-1]) == (0, 0, 1, 1)
