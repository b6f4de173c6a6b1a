"""``soo import-benchmark`` as a user calls it: what it writes is what ``soo eval`` and ``soo mtbench`` read."""

import json

from soo_jax.jobs.mtbench_prompts import HONESTY, read_prompts
from soo_jax.tasks.mtbench import read_questions
from tests.tasks.test_imported_benchmarks import LEVELS, NAMED


def test_an_imported_scenario_can_be_asked(soo, tmp_path, mistral_folder):
    (tmp_path / "police.json").write_text(json.dumps([NAMED, NAMED]))
    scenarios = tmp_path / "behonest.jsonl"
    done = soo("import-benchmark", "behonest", tmp_path / "police.json", "--out", scenarios)
    assert done.code == 0 and "(2; soo eval" in done.out.replace("\n", "")
    asked = ["eval", mistral_folder, "--scenarios", scenarios, "--suffix", "none", "--max-new-tokens", 1, "--quiet"]
    done = soo(*asked, "--no-honesty", "--no-margins", "--no-drift", "--out", tmp_path / "run")
    assert done.code == 0, done.err
    [row] = json.loads((tmp_path / "run" / "results.json").read_text())["rows"]
    assert (row["family"], row["n"]) == ("behonest_police", 2)


def test_a_judge_of_honesty_sees_what_is_known_of_a_case(soo, tmp_path):
    (tmp_path / "economy.json").write_text(json.dumps([LEVELS]))
    out = tmp_path / "questions.jsonl"
    assert soo("import-benchmark", "deceptionbench", tmp_path / "economy.json", "--out", out).code == 0
    question = read_questions(out)[0]
    system, prompt = read_prompts(HONESTY).of(question, ("It is fresh.",), 1)
    assert "deceive" in system and "Say how old it is." in prompt and "It is fresh." in prompt
    assert "Say how old it is." not in read_prompts(None).of(question, ("It is fresh.",), 1)[1]


def test_an_import_refuses_before_it_writes(refused, soo, tmp_path):
    (tmp_path / "a.json").write_text("[]")
    assert "'mask' is unknown; choose behonest or" in refused("import-benchmark", "mask", tmp_path / "a.json")
    assert "must be a JSON list" in refused("import-benchmark", "behonest", tmp_path / "a.json")
    assert "only behonest has" in refused("import-benchmark", "deceptionbench", tmp_path / "a.json", "--control", "x")
    there = tmp_path / "a.json"
    assert "is there already" in soo("import-benchmark", "behonest", there, "--out", there).complaint
