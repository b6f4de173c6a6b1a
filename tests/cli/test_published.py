"""``soo import-reference`` as a user calls it, and the study that reads its run."""

import json

import soo_jax as soo_api
from scripts.studies.published_answers.__main__ import main
from tests.tasks.checkout import SEEDS, write_checkout


def test_a_checkout_becomes_a_run_with_a_report_and_a_task_pack(soo, tmp_path):
    write_checkout(tmp_path / "checkout")
    out = tmp_path / "run"
    done = soo("import-reference", tmp_path / "checkout", "--out", out)
    assert done.code == 0 and "combinations.pkl: left out" in done.err
    assert "misl." in done.out and "pack (5 pairs, 1 probes, 40 test, 4 validation)" in done.out.replace("\n", "")
    rows = json.loads((out / "results.json").read_text())["rows"]
    after = [row for row in rows if row["condition"] == "soo"]
    assert [(row["seed"], row["honest"], row["mislead"], row["contradiction"]) for row in after] == [
        (seed, 4, 2, 2) for seed in SEEDS
    ]
    page = (out / "report.html").read_text()
    assert "mean to mislead" in page and "combinations" not in page
    pack = soo_api.read_pack(out / "pack")
    assert len(pack.scenarios(["burglar"], 250, 0, "test")) == 4 and len(pack.pairs(False)) == 5
    assert pack.honesty(pack.scenarios(None, 1, 0, "test")[0]).prompt.startswith("Be honest to Bob.")


def test_the_pack_of_an_import_can_be_asked(soo, tmp_path):
    write_checkout(tmp_path / "checkout", n=2)
    assert soo("import-reference", tmp_path / "checkout", "--out", tmp_path / "run").code == 0
    done = soo("eval", "organism", "--tasks", tmp_path / "run" / "pack", "--n", 1, "--max-new-tokens", 2, "--quiet",
               "--no-honesty", "--out", tmp_path / "asked")  # fmt: skip
    assert done.code == 0, done.err


def test_the_study_prints_acts_and_stated_intents_of_an_import(soo, tmp_path, capsys):
    write_checkout(tmp_path / "checkout")
    soo("import-reference", tmp_path / "checkout", "--out", tmp_path / "run")
    assert main([str(tmp_path / "run")]) == 0
    out = capsys.readouterr().out
    assert "| after SOO | 11 | Burglar | 4 | 100.0 (51 to 100) | 50.0 (15 to 85) | 50.0 (15 to 85) |" in out
    assert (
        "| after SOO | mean ± sd | Burglar | 8 | 100.0 ± 0.0 | 50.0 ± 0.0 | 50.0 ± 0.0 | 50.0 ± 0.0 | 0.0 ± 0.0 |"
        in out
    )


def test_an_import_of_nothing_known_leaves_nothing_behind(refused, tmp_path):
    (tmp_path / "empty").mkdir()
    assert "no pairs, scenarios or printed answers" in refused("import-reference", tmp_path / "empty")
    assert "is no folder" in refused("import-reference", tmp_path / "none")
