"""Commands say before they begin which differences they can show."""

import json
import re

import pytest

from soo_jax.tasks.comparison import detectable
from tests.cli.test_bad_input import GOOD_PAIR, GOOD_SCENARIO


@pytest.fixture
def said(tmp_path):
    """What a run said of its power, and what else its log says."""

    def read(out):
        lines = (out / "log.txt").read_text().splitlines()
        (told,) = (line for line in lines if " power: " in line)
        return told.partition(" power: ")[2], lines.index(told)

    return read


def test_finetuning_says_what_an_evaluation_of_its_seeds_will_show(soo, said, tmp_path, mistral_folder):
    (tmp_path / "pairs.jsonl").write_text(GOOD_PAIR + "\n")
    done = soo("finetune", mistral_folder, "--pairs", tmp_path / "pairs.jsonl", "--layer", 0, "--epochs", 1,
               "--rank", 2, "--seed", "0,1", "--no-pair-check", "--quiet", "--out", tmp_path / "run")  # fmt: skip
    assert done.code == 0, done.err
    told, place = said(tmp_path / "run")
    assert told == (
        f"500 questions a family (soo eval's) and 2 seeds show differences of {detectable(500, 2):.1f} points or more "
        "(80 %, at worst)"
    )
    assert place == 0


def test_a_sweep_says_it_of_its_own_questions_and_seeds(soo, said, tmp_path, mistral_folder):
    (tmp_path / "mine.jsonl").write_text(GOOD_SCENARIO + "\n")
    (tmp_path / "pairs.jsonl").write_text(GOOD_PAIR + "\n")
    sweep = {
        "finetune": {"layer": 0, "epochs": 1, "seeds": [0, 1], "lora": {"rank": 2}},
        "vary": {"learning_rate": [1e-3]},
        "measure": {
            "scenarios_file": str(tmp_path / "mine.jsonl"),
            "max_new_tokens": 1,
            "margins": False,
            "drift": False,
        },
    }
    (tmp_path / "sweep.json").write_text(json.dumps(sweep))
    done = soo("sweep", mistral_folder, "--config", tmp_path / "sweep.json", "--pairs", tmp_path / "pairs.jsonl",
               "--quiet", "--out", tmp_path / "run")  # fmt: skip
    assert done.code == 0, done.err
    told, _ = said(tmp_path / "run")
    assert re.match(rf"1 question a family and 2 adapters show differences of {detectable(1, 2):.1f} points", told)
