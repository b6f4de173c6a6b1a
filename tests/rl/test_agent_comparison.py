"""Agents before and after, paired by opponent and seed: intervals hold for opponents that were not met."""

import numpy as np
import pytest
from scipy import stats

from soo_jax.rl.comparison import differences


def table(values, metric="trapped"):
    """Values ``[reds, seeds]`` of one metric."""
    return {metric: {(red, seed): value for red, row in enumerate(values) for seed, value in enumerate(row)}}


def drawn(rng, reds, seeds, effect=0.0, between=1.0):
    """Agents before and after an effect that differs from red to red."""
    before = rng.normal(size=(reds, seeds)) + rng.normal(size=(reds, 1))
    change = effect + between * rng.normal(size=(reds, 1)) + 0.3 * rng.normal(size=(reds, seeds))
    return table(before), table(before + change)


def test_agents_are_paired_so_that_how_they_differed_to_begin_with_does_not_count():
    rng = np.random.default_rng(0)
    before = 10 * rng.normal(size=(6, 4))
    (found,) = differences(table(before), table(before + 0.5 + 0.01 * rng.normal(size=(6, 4))))
    assert found.difference == pytest.approx(0.5, abs=0.01) and found.low > 0.45 and found.verdict == "more"
    assert (found.agents, found.reds) == (24, 6)


def test_with_as_many_agents_for_every_red_the_p_value_is_that_of_the_reds_means():
    before, after = drawn(np.random.default_rng(1), 5, 3, effect=1.0)
    (found,) = differences(before, after)
    change = np.array([[after["trapped"][r, s] - before["trapped"][r, s] for s in range(3)] for r in range(5)])
    assert found.p == pytest.approx(stats.ttest_1samp(change.mean(axis=1), 0.0).pvalue)
    assert found.effect == pytest.approx(change.mean() / change.std(ddof=1))


@pytest.mark.parametrize(("reds", "least", "most"), [(8, 0.925, 0.975), (4, 0.84, 0.925)])
def test_intervals_of_eight_reds_hold_the_truth_as_often_as_they_say_and_those_of_four_less_often(reds, least, most):
    """Plain percentiles of eight reds hold it in less than 90 of 100 cases."""
    rng, held = np.random.default_rng(7), 0
    for trial in range(600):
        (found,) = differences(*drawn(rng, reds, 2, effect=0.7), seed=trial)
        held += found.low <= 0.7 <= found.high
    assert least < held / 600 < most


def test_many_seeds_against_few_reds_make_nothing_sure():
    rng = np.random.default_rng(3)
    change = np.array([[1.0], [-0.8], [1.2]]) + 0.01 * rng.normal(size=(3, 200))
    (found,) = differences(table(np.zeros((3, 200))), table(change))
    assert found.low < 0 < found.high and found.verdict == "undecided"


def test_two_reds_show_nothing_and_one_red_speaks_by_its_agents():
    (two,) = differences(table(np.zeros((2, 9))), table(np.ones((2, 9))))
    assert two.low is None and two.p == 1.0 and two.verdict == "undecided"
    rng = np.random.default_rng(4)
    (one,) = differences(table(np.zeros((1, 9))), table(1 + 0.1 * rng.normal(size=(1, 9))))
    assert one.reds == 1 and one.low > 0.8 and one.verdict == "more"


def test_where_all_changed_alike_the_p_value_is_that_of_as_many_signs():
    (found,) = differences(table(np.ones((8, 2))), table(np.zeros((8, 2))))
    assert found.p == pytest.approx(2 / 2**8) and found.effect is None
    (still,) = differences(table(np.ones((8, 2))), table(np.ones((8, 2))), ["trapped"])
    assert still.p == 1.0 and still.verdict == "same"


def test_a_control_is_the_same_only_where_that_is_shown():
    rng = np.random.default_rng(5)
    before = rng.normal(size=(8, 4))
    for spread, verdict in ((0.01, "same"), (0.3, "undecided")):
        after = table(before + spread * rng.normal(size=(8, 1)))
        (found,) = differences(table(before), after, ["trapped"], within=0.05)
        assert found.verdict == verdict, spread
        assert differences(table(before), after, within=0.05)[0].same is None


def test_p_values_are_corrected_for_the_metrics_and_agents_without_a_value_are_counted():
    before, after = {}, {}
    for i in range(3):
        one, other = drawn(np.random.default_rng(6 + i), 6, 2, effect=1.0)
        before[f"m{i}"], after[f"m{i}"] = one["trapped"], other["trapped"]
    after["m0"][0, 0] = None
    del after["m1"][0, 0]
    found = differences(before, after)
    assert [(row.agents, row.missing) for row in found] == [(11, 1), (11, 0), (12, 0)]
    assert min(row.p_holm for row in found) == pytest.approx(min(1.0, 3 * min(row.p for row in found)))
