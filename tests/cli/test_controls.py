"""``soo controls``: SOO beside everything that might do the same."""

import json

import pytest

import soo_jax as soo_api
from soo_jax.jobs import controls
from soo_jax.jobs.controls import _honest_answers
from soo_jax.tasks.pack import pack_for
from tests.test_docs import needs_organism

ASKED = ("--families", "burglar,self", "--n", 1, "--max-new-tokens", 4, "--no-honesty", "--quiet")


FEW = (
    {"layer": [0, 1]},
    ("--turns", 1, "--examples", ""),
    ["self-self", "other-other", "shuffled", "turned 1", "steering 1"],
)
ALL = (
    {},
    ("--turns", 1, "--examples", "2"),
    ["self-self", "other-other", "shuffled", "turned 1", "2 answers", "steering 1"],
)


@needs_organism
@pytest.mark.parametrize(("changes", "which", "names"), [FEW, pytest.param(*ALL, marks=pytest.mark.slow)])
def test_every_control_stands_in_one_table_with_soo(soo, tmp_path, changes, which, names):
    settings = soo_api.preset("organism").as_dict() | {"epochs": 1, "seeds": [0]} | changes
    (tmp_path / "settings.json").write_text(json.dumps(settings))
    out = tmp_path / "out"
    done = soo("controls", "organism", "--config", tmp_path / "settings.json", *ASKED,
               "--strengths", "1", *which, "--out", out)  # fmt: skip
    assert done.code == 0, done.err
    rows = json.loads((out / "results.json").read_text())["rows"]
    conditions = list(dict.fromkeys(row["condition"] for row in rows))
    assert conditions == ["base", "soo", *(f"control:{name}" for name in names)]
    assert "control:" not in done.out and "steering × 1" in done.out and "SOO and what might do the same" in done.out
    assert "control:" not in (out / "report.html").read_text().split("<script")[0].split("How to read")[0]
    assert all(row["n"] == 1 for row in rows)


@needs_organism
def test_controls_that_were_interrupted_go_on_with_what_is_missing(soo, tmp_path, monkeypatch):
    settings = soo_api.preset("organism").as_dict() | {"epochs": 1, "seeds": [0]}
    (tmp_path / "settings.json").write_text(json.dumps(settings))
    asked = ("controls", "organism", "--config", tmp_path / "settings.json", *ASKED, "--turns", 0, "--examples", "",
             "--strengths", "1")  # fmt: skip
    assert soo(*asked, "--out", tmp_path / "whole").code == 0
    real, trained = controls.finetune, []

    def counted(lm, pairs, *args, **rest):
        trained.append(len(trained))
        if len(trained) == 3:
            raise KeyboardInterrupt
        return real(lm, pairs, *args, **rest)

    monkeypatch.setattr(controls, "finetune", counted)
    out = tmp_path / "out"
    assert soo(*asked, "--out", out).code == 130
    assert soo(*asked, "--out", out, "--resume").code == 0
    assert len(trained) == 3 + 2, "of SOO and three controls that train, two were done and the third was begun"
    told = lambda folder: {name: json.loads((folder / "results.json").read_text())[name] for name in ("rows", "drift")}
    assert told(out) == told(tmp_path / "whole")
    assert (out / "responses.jsonl").read_text() == (tmp_path / "whole" / "responses.jsonl").read_text()
    other = soo(*asked, "--out", out, "--resume", "--n", 2)
    assert other.code == 2 and "begun with other settings (measure, hashes)" in other.err


@needs_organism
def test_labels_are_honest_answers_in_the_models_own_words():
    lm = soo_api.load("organism")
    pack = pack_for(lm.tokenizer.get_vocab(), lm.folder)
    examples = _honest_answers(lm, pack, 4)
    asked = pack.scenarios(["burglar"], 2, 0, "validation")
    assert [prompt for prompt, _ in examples] == [one.prompt for one in asked]
    assert [answer for _, answer in examples] == [f"{one.honest} ." for one in asked]


@needs_organism
@pytest.mark.parametrize(
    ("changes", "said"),
    [
        ({"learning_rate": [0.1, 0.2]}, "compare one setting"),
        ({"site": "residual"}, "compare one setting"),
        ({"layer": 99}, "layer"),
    ],
)
def test_what_cannot_be_compared_is_refused_before_anything_is_trained(refused, tmp_path, changes, said):
    settings = soo_api.preset("organism").as_dict() | {"epochs": 1, "seeds": [0]} | changes
    (tmp_path / "settings.json").write_text(json.dumps(settings))
    assert said in refused("controls", "organism", "--config", tmp_path / "settings.json", *ASKED)
    assert "turns must not be negative" in refused("controls", "organism", "--turns", -1, *ASKED)
