"""metrics.csv and --log as a user meets them."""

import csv
import sys

import pytest

from soo_jax.runs import read_run

PPO = ["--set=iterations=3", "--set=environments=2", "--set=steps=5", "--set=minibatches=1", "--set=hidden=[8]"]
PPO += ["--set=follower.iterations=1", "--seed=0,1", "--episodes=2", "--quiet"]


def lines(out):
    with open(out / "metrics.csv", newline="", encoding="utf-8") as file:
        return list(csv.DictReader(file))


def test_metrics_of_a_fine_tuning_are_its_history(soo, mistral_folder, tmp_path):
    out = tmp_path / "out"
    small = ["--layer", 1, "--epochs", 1, "--seed", "0,1", "--rank", 2, "--learning-rate", "0.01,0.02", "--quiet"]
    assert soo("finetune", mistral_folder, *small, "--out", out).code == 0
    told = {(int(row["seed"]), float(row["learning_rate"]), int(row["step"])): row for row in lines(out)}
    history = read_run(out).training
    assert len(lines(out)) == len(told) == len(history)
    for row in history:
        own = told[row["seed"], row["learning_rate"], row["step"]]
        for name in ("loss", "overlap", "drift", "grad_norm"):
            assert float(own[name]) == pytest.approx(row[name], rel=1e-5), name


def test_agents_tell_each_stage_and_each_term_of_the_objective(soo, tmp_path):
    base, tuned = tmp_path / "base", tmp_path / "tuned"
    assert soo("rl", "train", "--condition=deceptive", *PPO, "--out", base).code == 0
    assert [row["stage"] for row in lines(base)] == ["followers"] + 6 * ["agents"]
    assert [row["seed"] for row in lines(base)][1:] == ["0", "1"] * 3
    small = ["--treatment=soo,control:more_rl", "--set=iterations=2", "--episodes=2", "--quiet"]
    assert soo("rl", "finetune", base, *small, "--out", tuned).code == 0
    rows = lines(tuned)
    assert {row["condition"] for row in rows} == {"soo", "control:more_rl"}
    for row in rows:
        assert row["soo_loss"] and {name for name in row if name.startswith("term.")} == {
            "term.both", "term.other_to_self", "term.self_to_other",
        }  # fmt: skip


@pytest.mark.parametrize(
    "command", [["finetune", "MODEL"], ["organism", "MODEL"], ["demo"], ["rl", "train"], ["rl", "finetune", "RUN"]]
)
def test_a_missing_client_is_told_before_anything_begins(soo, tmp_path, monkeypatch, command):
    monkeypatch.setitem(sys.modules, "wandb", None)
    refused = soo(*command, "--out", tmp_path / "out", "--log", "wandb").complaint
    assert refused == "soo: error: --log wandb: needs wandb, which is not installed: pip install 'soo-jax[wandb]'\n"
    assert not (tmp_path / "out").exists()
