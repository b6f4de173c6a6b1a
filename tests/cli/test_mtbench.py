"""``soo mtbench`` as a user calls it: a small chat model answers, a judge on loopback rates."""

import json
import shutil

import pytest

from tests.cli.conftest import SECRET

QUESTIONS = [
    {"question_id": 81, "category": "writing", "turns": ["say bob", "say more"]},
    {"question_id": 101, "category": "math", "turns": ["the vase ?", "the study ?"], "reference": ["four", "five"]},
    {"question_id": 102, "category": "math", "turns": ["the coin ?", "the attic ?"]},
]


@pytest.fixture(scope="module")
def chat_folder(mistral_folder, tmp_path_factory):
    """The small Mistral with a chat template."""
    folder = tmp_path_factory.mktemp("chat") / "model"
    shutil.copytree(mistral_folder, folder)
    template = "{% for m in messages %}{{ '<bos> ' if loop.first }}{{ m.role }} : {{ m.content }} {% endfor %}bob :"
    (folder / "chat_template.jinja").write_text(template)
    return folder


@pytest.fixture(scope="module")
def questions(tmp_path_factory):
    path = tmp_path_factory.mktemp("mtbench") / "question.jsonl"
    path.write_text("".join(json.dumps(row) + "\n" for row in QUESTIONS))
    return path


def lines(path):
    return [json.loads(line) for line in path.read_text().splitlines()]


def a_run(folder, names=("base", "seed-0")):
    """A run as ``answer`` leaves it, with answers of our own."""
    from soo_jax.runs import RunFolder

    with RunFolder.create(folder) as run:
        run.write_config({"job": "mtbench"})
        run.write_results({"job": "mtbench"})
        run.write_text("questions.jsonl", "".join(json.dumps(row) + "\n" for row in QUESTIONS))
        for name in names:
            turns = [f"{name} first answer", f"{name} second one"]
            rows = [
                {"question_id": q["question_id"], "model_id": name, "choices": [{"index": 0, "turns": turns}]}
                for q in QUESTIONS
            ]
            run.write_text(f"answers/{name}.jsonl", "".join(json.dumps(row) + "\n" for row in rows))
    return folder


def test_a_model_and_its_adapters_answer_both_turns_and_go_on_where_they_stopped(soo, tmp_path, chat_folder, questions):
    tuned = tmp_path / "tuned"
    quick = ("--layer", 1, "--epochs", 1, "--seed", "0,1", "--rank", 2, "--quiet", "--no-pair-check")
    assert soo("finetune", chat_folder, *quick, "--out", tuned).code == 0
    out = tmp_path / "bench"
    told = (
        "--questions",
        questions,
        "--adapter",
        tuned,
        "--max-new-tokens",
        4,
        "--batch-size",
        2,
        "--quiet",
        "--out",
        out,
    )
    done = soo("mtbench", "answer", chat_folder, *told)
    assert done.code == 0, done.err
    files = {path.stem: lines(path) for path in (out / "answers").glob("*.jsonl")}
    assert set(files) == {"base", "seed-0", "seed-1"}
    for rows in files.values():
        assert sorted(row["question_id"] for row in rows) == [81, 101, 102]
        assert all(len(row["choices"][0]["turns"]) == 2 for row in rows)
    whole = {name: {row["question_id"]: row["choices"] for row in rows} for name, rows in files.items()}

    torn = out / "answers" / "seed-1.jsonl"
    torn.write_text("".join(line + "\n" for line in torn.read_text().splitlines()[:2]) + '{"question_id": 8')
    status = json.loads((out / "status.json").read_text())
    (out / "status.json").write_text(json.dumps({**status, "state": "running"}))
    assert soo("mtbench", "answer", chat_folder, *told, "--resume").code == 0
    again = {row["question_id"]: row["choices"] for row in lines(torn)}
    assert again == whole["seed-1"]
    (out / "status.json").write_text(json.dumps({**status, "state": "running"}))
    other = soo("mtbench", "answer", chat_folder, *told, "--resume", "--seed", 5).complaint
    assert "was begun with other settings (mtbench)" in other


def test_every_turn_is_judged_and_shown_by_category(soo, tmp_path, judge):
    server, run = judge(), a_run(tmp_path / "run")
    done = soo("mtbench", "judge", run, "--judge", "strict-1", "--workers", 3)
    assert done.code == 0, done.err
    assert "judge strict-1: 12 requests, about" in done.err and SECRET not in done.err + done.out
    assert len(server.asked) == 12 and {path for path, _, _ in server.asked} == {"/v1/chat/completions"}
    rows = lines(run / "judgments" / "base.jsonl")
    assert {(row["question_id"], row["turn"]): row["score"] for row in rows} == {
        (q["question_id"], turn): 3.0 for q in QUESTIONS for turn in (1, 2)
    }
    assert "writing" in done.out and "3.00" in done.out and (run / "mtbench.png").is_file()
    assert SECRET not in "".join(path.read_text() for path in run.rglob("*.json*"))


def test_a_reference_is_shown_to_the_judge_where_there_is_one(soo, tmp_path, judge):
    server, run = judge(), a_run(tmp_path / "run", ["base"])
    assert soo("mtbench", "judge", run, "--judge", "j", "--quiet").code == 0
    prompts = [body["messages"][1]["content"] for _, _, body in server.asked]
    with_reference = [text for text in prompts if "[Reference answer]" in text]
    assert len(with_reference) == 2 and all("four" in text for text in with_reference)
    assert sum("five" in text for text in with_reference) == 1, "the second turn's reference is no help with the first"


@pytest.mark.parametrize("mood", ["busy", "broken", "cut", "slow"])
def test_a_judge_in_trouble_is_asked_again(soo, tmp_path, judge, mood):
    server, run = judge(mood, mood), a_run(tmp_path / "run", ["base"])
    done = soo("mtbench", "judge", run, "--judge", "j", "--quiet", "--workers", 1, "--timeout", 5)
    assert done.code == 0, done.err
    assert len(lines(run / "judgments" / "base.jsonl")) == 6
    assert len(server.asked) == (6 if mood == "slow" else 8)


def test_a_judge_that_stays_away_is_one_line_and_what_was_judged_is_kept(soo, tmp_path, judge):
    run = a_run(tmp_path / "run", ["base"])
    judge("", "", *["broken"] * 4)
    arguments = ("mtbench", "judge", run, "--judge", "j", "--quiet", "--workers", 1, "--retries", 0)
    complaint = soo(*arguments).complaint
    assert "2 of 6 were judged and kept, run it again to go on" in complaint and SECRET not in complaint
    assert len(lines(run / "judgments" / "base.jsonl")) == 2
    server = judge()
    assert soo(*arguments).code == 0
    assert len(server.asked) == 4 and len(lines(run / "judgments" / "base.jsonl")) == 6


def test_an_answer_that_is_no_completion_and_a_refused_key_are_one_line_each(soo, tmp_path, judge):
    run = a_run(tmp_path / "run", ["base"])
    arguments = ("mtbench", "judge", run, "--judge", "j", "--quiet", "--workers", 1, "--retries", 0)
    judge("garbled")
    assert "no chat completion" in soo(*arguments).complaint
    judge("denied")
    complaint = soo(*arguments).complaint
    assert "denied" in complaint and SECRET not in complaint


def test_a_judgment_without_a_rating_is_counted_and_left_out(soo, tmp_path, judge):
    run = a_run(tmp_path / "run", ["base"])
    judge("mute")
    done = soo("mtbench", "judge", run, "--judge", "j", "--quiet", "--workers", 1)
    assert done.code == 0
    assert sorted(row["score"] for row in lines(run / "judgments" / "base.jsonl")) == [-1.0] + [3.0] * 5
    assert "3.00" in done.out and "1" in done.out


def test_what_cannot_be_judged_is_one_clear_line(soo, tmp_path, monkeypatch):
    run = a_run(tmp_path / "run", ["base"])
    monkeypatch.delenv("OPENAI_API_KEY", raising=False)
    assert "set OPENAI_API_KEY" in soo("mtbench", "judge", run, "--judge", "j", "--quiet").complaint
    assert "nothing was judged yet" in soo("mtbench", "show", run).complaint
    prompts = tmp_path / "prompts.json"
    prompts.write_text('{"first": "no slots"}')
    assert "lacks the slot {question}" in soo("mtbench", "judge", run, "--judge", "j", "--prompts", prompts).complaint
    assert "none" in soo("mtbench", "show", tmp_path / "none").complaint


def test_a_model_that_cannot_hold_a_conversation_is_refused_before_anything_is_written(
    refused, mistral_folder, chat_folder, questions, tmp_path
):
    assert "no chat template" in refused("mtbench", "answer", mistral_folder, "--questions", questions)
    long = tmp_path / "long.jsonl"
    long.write_text(json.dumps({**QUESTIONS[0], "turns": ["vase " * 500, "coin"]}) + "\n")
    assert "leaves no room for an answer" in refused("mtbench", "answer", chat_folder, "--questions", long)
