"""``soo compare`` as a user calls it."""

import json

import pytest

from tests.report.synthetic import write_run
from tests.report.synthetic_rl import write_rl_run


def test_one_run_is_compared_with_its_base(soo, tmp_path):
    run = write_run(tmp_path / "run", n=6, families=["burglar", "self"], bad_seed=None)
    done = soo("compare", run, "--out", tmp_path / "d.json")
    assert done.code == 0 and "run:base → run:honesty_prompt" in done.out and "run:base → run:soo" in done.out
    assert "more honest" in done.out and "12 questions a family, 5 seeds each" in done.out
    rows = json.loads((tmp_path / "d.json").read_text())
    one = next(row for row in rows if row["after_run"] == "run:soo" and row["family"] == "burglar")
    assert one["verdict"] == "more" and one["after_seeds"] == 5 and one["low"] < one["difference"] < one["high"]
    assert "seeds" not in one


def test_answers_that_contradict_themselves_get_a_table_of_their_own(soo, tmp_path):
    run = write_run(tmp_path / "run", n=6, families=["burglar", "self"], reasons=0.5)
    done = soo("compare", run)
    assert done.code == 0 and "honest acts that do not say that they mean to mislead" in done.out
    assert soo("compare", run, "--measure", "mislead").out.count("Burglar") == 2


def test_conditions_of_two_runs_are_named(soo, tmp_path):
    one = write_run(tmp_path / "one", n=6, families=["burglar", "self"])
    two = write_run(tmp_path / "two", n=6, families=["burglar", "self"], seed=1, seeds=(0, 1), strength=0.1)
    done = soo("compare", one, two)
    assert done.code == 0 and "one:soo → two:soo" in done.out and "2 seeds say little about seeds" in done.out
    assert "less honest" in done.out
    assert "one:base → two:honesty_prompt" in soo("compare", f"{one}:base", f"{two}:honesty_prompt").out


def test_what_cannot_be_compared_is_one_clear_line(soo, tmp_path):
    run = write_run(tmp_path / "run", n=3, families=["burglar", "self"])
    other = write_run(tmp_path / "other", n=3, families=["treasure_hunt"])
    assert "has no condition 'x'; it has base, honesty_prompt, soo" in soo("compare", f"{run}:x", run).complaint
    assert "share no family" in soo("compare", run, other).complaint
    assert "there is no measure 'kind'" in soo("compare", run, "--measure", "kind").complaint
    assert "none" in soo("compare", tmp_path / "none").complaint
    responses = run / "responses.jsonl"
    kept = [line for line in responses.read_text().splitlines() if '"base"' not in line]
    responses.write_text("\n".join(kept) + "\n")
    assert "has no base and another condition" in soo("compare", run).complaint
    responses.write_text("")
    assert "holds no answers that could be compared" in soo("compare", run).complaint


@pytest.fixture
def agents(tmp_path):
    """A run of agents: deceptive ones, after SOO and after as much training without it."""
    conditions = ("deceptive", "soo", "control:more_rl")
    return write_rl_run(tmp_path / "agents", conditions=conditions, arrays=False)


def test_agents_are_compared_with_the_deceptive_ones_by_red_and_seed(soo, agents, tmp_path):
    done = soo("compare", agents, "--out", tmp_path / "d.json")
    assert done.code == 0 and "agents:deceptive → agents:soo" in done.out
    assert "32 agents, 4 reds; paired by red and seed." in done.out and "4 reds say little about reds" in done.out
    rows = {(row["after_run"], row["metric"]): row for row in json.loads((tmp_path / "d.json").read_text())}
    trapped, goal = (rows["agents:soo", metric] for metric in ("trapped", "blue_at_goal"))
    assert trapped["verdict"] == "less" and trapped["low"] < trapped["difference"] < trapped["high"] < 0
    assert goal["control"] and not trapped["control"] and goal["same"] is False
    assert rows["agents:control:more_rl", "blue_at_goal"]["verdict"] != "less"


def test_two_conditions_of_agents_are_named_though_they_hold_colons(soo, agents):
    done = soo("compare", f"{agents}:control:more_rl", f"{agents}:soo", "--measure", "trapped", "--within", "1")
    assert done.code == 0 and "agents:control:more_rl → agents:soo" in done.out
    assert "red trapped" in done.out and "blue at goal" not in done.out


def test_what_cannot_be_compared_of_agents_is_one_clear_line(soo, agents, tmp_path):
    answers = write_run(tmp_path / "answers", n=3, families=["burglar", "self"])
    others = write_rl_run(tmp_path / "others", conditions=("soo",), reds=(7,), arrays=False)
    assert "is about agents and" in soo("compare", agents, answers).complaint
    assert "there is no measure 'kind'" in soo("compare", agents, "--measure", "kind").complaint
    assert (
        "has no condition 'x'; it has deceptive, soo, control:more_rl"
        in soo("compare", agents, f"{agents}:x").complaint
    )
    assert "has a partner of the same red and seed in" in soo("compare", agents, others).complaint
    assert "has no deceptive agents and others to compare them with" in soo("compare", others).complaint
    assert "within must be above 0" in soo("compare", agents, "--within", "0").complaint
