"""``soo compare`` as a user calls it."""

import json

from tests.report.synthetic import write_run


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
