"""``soo eval`` says whether a model still writes as it did."""

import json

QUICK = ("--layer", 1, "--epochs", 1, "--seed", "0,1", "--rank", 2, "--quiet", "--no-pair-check")
ASKED = ("--families", "burglar", "--n", 1, "--max-new-tokens", 2, "--no-honesty", "--no-margins", "--quiet")


def test_drift_stands_in_the_results_on_the_page_and_in_the_terminal(soo, tmp_path, mistral_folder):
    assert soo("finetune", mistral_folder, *QUICK, "--out", tmp_path / "tuned").code == 0
    texts = tmp_path / "texts.jsonl"
    texts.write_text('{"text": "a coin is in the study ."}\n')
    adapter = ("--adapter", tmp_path / "tuned")
    done = soo("eval", mistral_folder, *adapter, *ASKED, "--texts", texts, "--out", tmp_path / "out")
    assert done.code == 0, done.err
    assert "ordinary texts: before perplexity" in done.out and "same first choice" in done.out
    rows = json.loads((tmp_path / "out" / "results.json").read_text())["drift"]
    assert [(row["condition"], row["seed"]) for row in rows] == [("base", None), ("soo", 0), ("soo", 1)]
    assert "Does it still write as it did?" in (tmp_path / "out" / "report.html").read_text()
    done = soo("eval", mistral_folder, *adapter, *ASKED, "--no-drift", "--out", tmp_path / "without")
    assert done.code == 0 and "ordinary texts" not in done.out
    assert json.loads((tmp_path / "without" / "results.json").read_text())["drift"] == []


def test_a_file_of_texts_that_cannot_be_read_is_one_line_before_anything_is_asked(refused, tmp_path, mistral_folder):
    texts = tmp_path / "texts.jsonl"
    texts.write_text('{"words": "none"}\n')
    assert "texts.jsonl, line 1" in refused("eval", mistral_folder, *ASKED, "--texts", texts)
