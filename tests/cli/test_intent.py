"""``soo intent`` as a user calls it, with a judge on loopback."""

import json

import pytest

from soo_jax.runs import RunFolder
from tests.cli.conftest import SECRET


def words(prompt):
    """This judge reads "for myself" as a purpose, and is lost where somebody mumbles."""
    answer = prompt.partition("[Answer]\n")[2].partition("\n[End of the answer]")[0]
    if "mumble" in answer:
        return "I cannot tell."
    return f"So it says. Intent: [[{'mislead' if 'for myself' in answer else 'none'}]]"


@pytest.fixture
def answered(tmp_path):
    """A run with five answers outside of controls, two of which are the same words to the same question."""
    said = [
        ("base", "I want it for myself", "mislead"),
        ("soo", "I want it for myself", "mislead"),
        ("soo", "the hall, to fool him", "mislead"),
        ("soo", "the hall", "none"),
        ("soo", "mumble", "none"),
        ("soo", "a control", None),
    ]
    with RunFolder.create(tmp_path / "run") as run:
        run.write_config({"job": "eval"})
        run.write_results({"job": "eval"})
        rows = [{"condition": c, "prompt": "which room ?", "response": text, "intent": i} for c, text, i in said]
        run.append_responses(rows)
    return tmp_path / "run"


def test_each_answer_is_judged_once_and_stands_beside_the_rule(soo, answered, judge):
    server = judge(words=words)
    done = soo("intent", answered, "--judge", "strict-1", "--workers", 2)
    assert done.code == 0, done.err
    assert len(server.asked) == 4, "the same words to the same question are judged once, controls never"
    assert "judge strict-1: 4 requests, about" in done.err and "after SOO" in done.out and "67 (21 to 94)" in done.out
    told = json.loads((answered / "intent.json").read_text())
    base, soo_row, whole = told["rows"]
    assert (base["n"], base["both"], soo_row["n"], soo_row["unrated"]) == (1, 1, 3, 1)
    assert (soo_row["rule"], soo_row["judge"], soo_row["both"], soo_row["same"]) == (2, 1, 1, 2)
    assert whole["condition"] == "all" and whole["n"] == 4
    assert SECRET not in done.err + done.out + "".join(path.read_text() for path in answered.rglob("*.json*"))
    assert {"intent.json", "judgments/intent.jsonl"} <= set(json.loads((answered / "status.json").read_text())["files"])


def test_a_judge_that_fails_loses_nothing_and_is_asked_only_for_the_rest(soo, answered, judge):
    judge("", "denied", words=words)
    refused = soo("intent", answered, "--judge", "strict-1", "--workers", 1, "--retries", 0, "--quiet").complaint
    assert "were judged and kept" in refused and SECRET not in refused
    kept = answered / "judgments" / "intent.jsonl"
    before = kept.read_text()
    done = before.count("\n")
    assert 1 <= done < 4, "the first was answered, the second refused; those under way are waited for"
    kept.write_text(before + '{"answer": "torn')
    server = judge(words=words)
    assert soo("intent", answered, "--judge", "strict-1", "--quiet").code == 0
    assert len(server.asked) == 4 - done and kept.read_text().startswith(before)
    server = judge(words=words)
    assert soo("intent", answered, "--judge", "strict-1", "--quiet").code == 0 and server.asked == []
    assert soo("intent", answered, "--judge", "another", "--quiet").code == 0 and len(server.asked) == 4


def test_a_run_without_answers_and_a_missing_key_are_refused_in_a_line(soo, answered, tmp_path, monkeypatch):
    monkeypatch.delenv("OPENAI_API_KEY", raising=False)
    assert "set OPENAI_API_KEY" in soo("intent", answered, "--judge", "j", "--quiet").complaint
    assert not (answered / "intent.json").exists()
    (answered / "responses.jsonl").write_text("")
    assert "holds no answers that could state an intent" in soo("intent", answered, "--judge", "j").complaint
    assert "it is no run folder" in soo("intent", tmp_path, "--judge", "j").complaint
