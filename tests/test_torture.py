"""The bench that kills runs: it notices what is lost, and what happens happens where it was planned."""

import json
import signal
import subprocess
import sys

import pytest

from scripts.torture import __main__ as program
from scripts.torture.cases import CASES, ROOT, Bench, Done, Whole
from scripts.torture.harms import Row, flip, tear
from soo_jax.runs import RunFolder

CASE = next(case for case in CASES if case.name == "evaluation")


def write_run(out):
    with RunFolder.create(out) as run:
        run.write_config({"a": 1})
        run.append_responses([{"response": "study"}])
        run.write_results({"job": "eval", "timings": {"eval_s": float(len(str(out)))}})
    return out


@pytest.fixture
def bench(tmp_path):
    """A bench on which the undisturbed run of a case is there already."""
    made = Bench(tmp_path)
    made._whole[CASE.name] = Whole(write_run(made.fresh(CASE)), {})
    return made


def test_runs_that_differ_in_times_alone_have_lost_nothing(bench):
    assert bench.lost(CASE, write_run(bench.fresh(CASE))) == []


def test_a_turned_bit_a_missing_file_and_a_forgotten_one_are_noticed(bench):
    out = write_run(bench.fresh(CASE))
    flip(out / "responses.jsonl")
    assert bench.lost(CASE, out) == ["responses.jsonl"]
    (out / "config.json").unlink()
    (out.parent / ".out.part").mkdir()
    (out / "checkpoints").mkdir()
    (out / "checkpoints" / "state").write_text("")
    assert bench.lost(CASE, out) == ["checkpoints/state", "config.json", "responses.jsonl", "left behind: .out.part"]


def test_a_run_that_is_incomplete_has_lost_something(bench):
    out = write_run(bench.fresh(CASE))
    (out / "status.json").write_text((out / "status.json").read_text().replace("complete", "running"))
    assert bench.lost(CASE, out) == ["it is incomplete"]


def test_only_one_line_behind_notes_is_a_refusal():
    assert Done(2, "soo: error: no\n", {}).refused and Done(2, "soo: warning: hm\nsoo: error: no\n", {}).refused
    for code, said in (
        (1, "soo: error: no\n"),
        (2, "Traceback\nsoo: error: no\n"),
        (2, "soo: error: a\nsoo: error: b\n"),
    ):
        assert not Done(code, said, {}).refused


def test_a_torn_file_ends_in_the_middle_of_its_last_line(tmp_path):
    (tmp_path / "lines").write_text("one line\nanother line\n")
    tear(tmp_path / "lines")
    left = (tmp_path / "lines").read_text()
    assert left.startswith("one line\nano") and not left.endswith("\n")


EVENTS = """
import os, sys
from scripts.torture.child import watch
place = sys.argv[2]
watch({"place": place, "do": "kill", "at": int(sys.argv[1])})
open(place + "/a", "w").close()
open(place + "/a").close()
open(place + "-elsewhere/x", "w").close()
os.replace(place + "/a", place + "/b")
os.remove(place + "/b")
"""


@pytest.mark.parametrize(("at", "left"), [(1, []), (2, ["a"]), (3, ["b"]), (4, [])])
def test_a_kill_comes_right_before_the_event_that_was_planned(tmp_path, at, left):
    place = tmp_path / "place"
    place.mkdir()
    (tmp_path / "place-elsewhere").mkdir()
    done = subprocess.run([sys.executable, "-c", EVENTS, str(at), str(place)], cwd=ROOT, check=False)
    assert done.returncode == (0 if at == 4 else -signal.SIGKILL), (
        "there are three: reading, and other places, are none"
    )
    assert [path.name for path in place.iterdir()] == left


def test_the_page_says_what_was_lost():
    rows = [Row("sweep", "killed, and gone on with", 2, "1 run", [], ["event 3 of 9", "1.5 of 9.0 s"])]
    assert "2 kills (SIGKILL) and 0 other harms; nothing was lost." in program.page(rows)
    rows.append(Row("evaluation", "disk full", 1, "refused in one line", ["results.json"], []))
    told = program.page(rows)
    assert "2 kills (SIGKILL) and 1 other harms; something was lost in 1 of 2 lines." in told
    assert told.endswith("| evaluation | disk full | 1 | refused in one line | results.json |\n")


@pytest.mark.slow
def test_nothing_is_lost_by_a_few_kills_and_damages(tmp_path):
    page = tmp_path / "page.md"
    some = ["--case", "evaluation", "--harm", "kills", "--harm", "damaged_answers"]
    assert program.main(["--kills", "3", *some, "--page", str(page)]) == 0, page.read_text()
    told = json.loads(page.with_suffix(".json").read_text())
    assert len(told[0]["moments"]) == 3 and len(told) == 3
