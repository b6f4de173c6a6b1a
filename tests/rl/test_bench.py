"""The benchmark's bookkeeping: what is timed, how often, and what a ratio compares."""

import sys
from pathlib import Path

import pytest

sys.path.insert(0, str(Path(__file__).parents[2] / "scripts"))
import bench_rl


def test_contenders_are_timed_in_turn_after_one_run_that_is_not_counted():
    order = []
    timings = bench_rl.alternate({name: lambda name=name: order.append(name) for name in "ab"}, rounds=3)
    assert order == list("ab") * 4
    assert {name: len(row["seconds_all"]) for name, row in timings.items()} == {"a": 3, "b": 3}


def test_a_contender_that_knows_one_size_is_compared_at_every_size():
    python, jax = {1: {"per_second": 4.0}}, {1: {"per_second": 1.0}, 1024: {"per_second": 8.0}}
    assert bench_rl.rate(python, 1024) == 4.0
    assert bench_rl.rate(jax, 1024) == 8.0


@pytest.mark.parametrize("name", ["ours step_env", "ours step", "gymnax CartPole step"])
def test_contenders_in_jax_run_as_they_are_timed(name):
    bench_rl.ENVIRONMENTS[name].make()(3, 5)()


def test_every_goal_names_contenders_that_are_timed():
    for _, ours, peer, goal in bench_rl.GOALS:
        assert {ours, peer} <= set(bench_rl.ENVIRONMENTS)
        assert goal > 1
