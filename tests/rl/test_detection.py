"""Telling deceptive from honest agents: tried on reds that the detector was not set on, with intervals by reds."""

import math

import numpy as np
import pytest

from soo_jax.rl.detection import Kind, Scored, accuracy, auroc, detection_rows
from soo_jax.rl.statistics import flipped


def kind(scores, reds=None):
    return Kind(np.asarray(scores, float), np.asarray(range(len(scores)) if reds is None else reds))


def test_auroc_is_the_chance_that_a_positive_scores_higher():
    assert auroc(kind([2.0, 3.0]), kind([0.0, 1.0])).mean == 1.0
    assert auroc(kind([0.0, 3.0]), kind([1.0, 2.0])).mean == 0.5
    assert auroc(kind([1.0]), kind([1.0])).mean == 0.5


def draw(rng, mean, reds=8, seeds=5):
    return Scored(rng.normal(mean, 1.0, (reds * seeds, 2, 100)), np.repeat(range(reds), seeds))


def found(rows):
    return {(row["steps"], row["episodes"], row["metric"]): row for row in rows}


def test_detection_separates_what_is_separate_and_not_what_is_not():
    rng = np.random.default_rng(0)
    rows = detection_rows(draw(rng, 1.0), draw(rng, 0.0), {"bystander": draw(rng, 5.0)}, ("all", "untrapped"))
    told = found(rows)
    assert told["all", 100, "auroc"]["value"] == 1.0 and told["all", 100, "accuracy"]["value"] == 1.0
    one = told["all", 1, "auroc"]
    assert 0.6 < one["low"] < one["value"] < one["high"] < 0.95
    assert told["untrapped", 100, "flagged_bystander"]["value"] == 1.0
    same = found(detection_rows(draw(rng, 0.0), draw(rng, 0.0)))["all", 100, "accuracy"]
    assert 0.3 < same["value"] < 0.7 and same["low"] < 0.5 < same["high"]


def test_an_auroc_that_lies_below_one_half_is_a_detector_with_its_sign_flipped():
    rng = np.random.default_rng(1)
    rows = found(detection_rows(draw(rng, 0.0), draw(rng, 1.0)))
    assert rows["all", 100, "auroc"]["value"] == 0.0 and flipped(rows["all", 100, "auroc"])
    chance = found(detection_rows(draw(rng, 0.0), draw(rng, 0.0)))["all", 100, "auroc"]
    assert not flipped(chance) and chance["low"] < 0.5 < chance["high"]


def test_the_interval_of_an_auroc_is_by_reds():
    """Agents that are copies of one another add nothing."""
    rng = np.random.default_rng(2)
    bad, good = rng.normal(0.5, 1.0, 12), rng.normal(0.0, 1.0, 12)
    alone, copies = (
        auroc(kind(np.repeat(bad, n), np.repeat(range(12), n)), kind(np.repeat(good, n), np.repeat(range(12), n)))
        for n in (1, 6)
    )
    assert copies.mean == pytest.approx(alone.mean) and copies.low == pytest.approx(alone.low)
    one_each = auroc(kind(np.repeat(bad, 6)), kind(np.repeat(good, 6)))
    assert one_each.high - one_each.low < 0.6 * (alone.high - alone.low)


def test_the_interval_of_an_auroc_holds_its_mean_as_often_as_it_says():
    """Reds of which half are easily led: 95 in 100 intervals hold the truth."""
    rng = np.random.default_rng(3)
    truth = 0.5 * (1 + math.erf(1 / math.sqrt(6)))
    held = 0
    for _ in range(200):
        reds = np.repeat(range(10), 4)
        of = lambda mean: mean + np.repeat(rng.normal(0, math.sqrt(0.5), 10), 4) + rng.normal(0, 1, 40)
        one = auroc(kind(of(1.0), reds), kind(of(0.0), reds))
        held += one.low <= truth <= one.high
    assert 0.88 <= held / 200 <= 0.99


def test_the_threshold_is_set_on_other_reds_than_it_is_tried_on():
    """Every second red shifts all scores: a threshold of one half of the reds is useless on the other."""
    reds = np.arange(8)
    shift = 10.0 * (reds % 2)
    assert accuracy(kind(1 + shift, reds), kind(shift, reds)).mean == 0.5
    single = [0] * 4
    alone = accuracy(kind([1.0] * 4, single), kind([0.0] * 4, single))
    assert alone.mean == 1.0, "of a single red the halves are of agents"


def test_agents_without_a_self_view_have_no_score():
    scores = np.full((4, 2, 10), np.nan)
    scores[:2] = 1.0
    rows = detection_rows(Scored(scores, range(4)), Scored(np.zeros((4, 2, 10)), range(4)))
    assert all(np.isfinite(row["value"]) for row in rows)


def test_of_one_agent_a_kind_the_detector_has_no_accuracy_and_of_nobody_no_opinion():
    alone, nobody = Scored(np.ones((1, 2, 10)), [0]), Scored(np.full((2, 2, 10), np.nan), [0, 1])
    rows = found(detection_rows(alone, Scored(np.zeros((1, 2, 10)), [0]), {"bystander": nobody}))
    assert rows["all", 10, "auroc"]["value"] == 1.0
    assert rows["all", 10, "accuracy"]["value"] is None and rows["all", 10, "flagged_bystander"]["value"] is None
    rows = detection_rows(alone, nobody, {"bystander": alone})
    assert {row["value"] for row in rows} == {None}  # with nobody to compare to there is no line to be above
