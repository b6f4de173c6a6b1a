"""``soo layers`` as a user calls it."""

import json

import pytest

import soo_jax as soo_library
from soo_jax.errors import SooError
from soo_jax.jobs import layers as module
from soo_jax.jobs.layers import layers_to_train, run_layers, training_of
from soo_jax.llm.grid import DAMAGE, HONEST, NOTHING, fates
from soo_jax.llm.layers import told_fates
from soo_jax.report.html import write_report
from soo_jax.runs import read_run
from tests.test_docs import needs_organism


@needs_organism
def test_layers_are_told_in_a_table_a_chart_and_words(soo, tmp_path):
    out = tmp_path / "out"
    done = soo("layers", "organism", "--scenes", 8, "--out", out, "--quiet")
    assert done.code == 0 and "Layer 1 decides" in done.out and "attention" in done.out
    rows = json.loads((out / "results.json").read_text())["layers"]
    assert len(rows) == 5 and rows[1]["patch_attention"] == 1.0
    assert [row["advised"] for row in rows] == [False, True, False, False, False] and "\n   *1 " in done.out
    assert (out / "layers.png").is_file() and "What to train" in (out / "report.html").read_text()


@needs_organism
def test_soo_at_several_layers_is_measured_and_told_beside_the_diagnosis(tmp_path, monkeypatch):
    lm = soo_library.load("organism")
    start = soo_library.FinetuneConfig(epochs=1, batch_size=52, learning_rate=1e-4)
    training = training_of([1, [1, 2]], start, n=1)
    assert [(cell.config.layer, cell.config.lora.layers) for cell in training.cells] == [(1, (1,)), ((1, 2), (1, 2))]

    def stop(*_):
        raise SooError("the disk is full")

    with monkeypatch.context() as patched, pytest.raises(SooError, match="disk"):
        patched.setattr(module, "train_cells", stop)
        run_layers(lm, tmp_path / "out", scenes=4, train=training)
    monkeypatch.setattr(module, "diagnose_layers", None)  # it is done, and is not done again
    advice = run_layers(lm, tmp_path / "out", scenes=4, train=training, resume=True)
    assert advice.endswith("Nothing much changes: 1, 1+2. A control falls by more than 10%: none.")
    run = read_run(tmp_path / "out")
    assert len(run.layers) == 5 and {row.get("trained_layer") for row in run.rows} == {None, 1, "1,2"}
    page = write_report([tmp_path / "out"]).read_text()
    assert "Nothing much changes" in page and (tmp_path / "out" / "sweep.png").is_file()


@needs_organism
def test_a_diagnosis_of_another_version_is_refused_in_one_line(soo, tmp_path, monkeypatch):
    out, asked = tmp_path / "out", ("layers", "organism", "--scenes", 4, "--out", tmp_path / "out", "--quiet")

    def stop(*_, **__):
        raise SooError("the disk is full")

    with monkeypatch.context() as patched:
        patched.setattr(module.Job, "results", stop)
        assert soo(*asked).code == 2
    known = json.loads((out / "cells" / "layers.json").read_text())
    del known["together"]
    (out / "cells" / "layers.json").write_text(json.dumps(known))
    refused = soo(*asked, "--resume")
    assert refused.code == 2 and "another version looked at these layers" in refused.err.replace("\n", " ")


@needs_organism
def test_finetune_takes_the_layers_that_a_diagnosis_advises(soo, refused, tmp_path):
    found, out = tmp_path / "layers", tmp_path / "tuned"
    assert soo("layers", "organism", "--scenes", 4, "--out", found, "--quiet").code == 0
    short = ("--preset", "organism", "--epochs", 1, "--seed", 0, "--quiet", "--no-pair-check")
    assert soo("finetune", "organism", "--layers-from", found, *short, "--out", out).code == 0
    config = json.loads((out / "config.json").read_text())
    assert config["finetune"]["layer"] == 1 and config["finetune"]["lora"]["layers"] == [1]
    assert config["settings"]["layers_from"] == str(found)

    asked = ("finetune", "organism", "--layers-from", found)
    assert "leave out --layer" in refused(*asked, "--layer", 2)
    assert "leave out --layer" in refused(*asked, "--adapter-layers", "all")
    assert "is no diagnosis of layers" in refused("finetune", "organism", "--layers-from", out)
    config = json.loads((found / "config.json").read_text())
    (found / "config.json").write_text(json.dumps({**config, "model": None}))
    assert "config.json or results.json is damaged" in refused(*asked)
    config["model"]["fingerprint"] = "another"
    (found / "config.json").write_text(json.dumps(config))
    assert "looked into another model than organism" in refused(*asked)
    told = json.loads((found / "results.json").read_text())
    told["layers"] = [row | {"advised": False} for row in told["layers"]]
    (found / "results.json").write_text(json.dumps(told))
    assert "advises no layer" in refused(*asked)
    (found / "status.json").write_text(json.dumps({"schema": "soo-run/1", "state": "interrupted", "files": []}))
    assert "this diagnosis is not complete" in refused(*asked)
    del told["layers"][0]["advised"]
    (found / "results.json").write_text(json.dumps(told))
    (found / "status.json").write_text(json.dumps({"schema": "soo-run/1", "state": "complete", "files": []}))
    assert "an earlier version looked at these layers" in refused(*asked)


def row(family, honest, **setting):
    return {"family": family, "order": "wrong_first", "honest": honest, "n": 10, **setting}


def test_what_comes_of_a_layer_is_honesty_nothing_or_damage_to_a_control():
    base = [row("burglar", 1), row("self", 10)]
    after = [
        *(row("burglar", 4, layer=3), row("self", 9, layer=3)),
        *(row("burglar", 2, layer=4), row("self", 10, layer=4)),
        *(row("burglar", 10, layer=5), row("self", 8, layer=5)),
    ]
    found = fates(after, ["layer"], ["self"], base)
    assert found == {(3,): HONEST, (4,): NOTHING, (5,): DAMAGE}
    said = told_fates({"3": HONEST, "5": DAMAGE})
    assert "controls stay: layers 3. Nothing much changes: none. A control falls by more than 10%: 5." in said


def test_layers_to_train_are_all_or_named_alone_or_together():
    assert layers_to_train("all", 3) == [0, 1, 2]
    assert layers_to_train("4,5,4+5", 6) == [4, 5, [4, 5]]
    for wrong in ("6", "4+6", "x", "", "4,,5", "-1"):
        with pytest.raises(SooError, match="is no layer of this model, which has 0 to 5"):
            layers_to_train(wrong, 6)


def test_settings_of_training_without_training_are_one_clear_line(refused):
    assert "give --train, too" in refused("layers", "organism", "--preset", "organism")


@needs_organism
def test_no_questions_after_training_are_one_clear_line(refused):
    assert "n must be at least 1, found 0" in refused("layers", "organism", "--train", "1", "--n", 0)


def test_a_pack_without_contrasts_is_one_clear_line(refused, tmp_path):
    (tmp_path / "pack").mkdir()
    (tmp_path / "pack" / "pack.json").write_text("{}")
    line = '{"family": "a", "order": "wrong_first", "prompt": "Where ?", "honest": "study", "deceptive": "kitchen"}\n'
    (tmp_path / "pack" / "test.jsonl").write_text(line)
    assert "contrasts.jsonl" in refused("layers", "organism", "--tasks", tmp_path / "pack")


def test_no_scenes_are_one_clear_line(refused):
    assert "scenes must be at least 1, found 0" in refused("layers", "organism", "--scenes", 0)
