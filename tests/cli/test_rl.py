"""``soo rl`` as a user types it."""

import json
from pathlib import Path

import jax
import numpy as np
import pytest

from soo_jax.cli import run
from soo_jax.cli.common import numbers
from soo_jax.errors import SooError
from soo_jax.jobs import agent_folders
from soo_jax.rl import preset
from soo_jax.runs import read_run

TINY = [f"--set={name}={value}" for name, value in {"iterations": 2, "environments": 2, "steps": 5}.items()]
SMALL = ["--seed", "0,1", "--episodes", "4", "--quiet", *TINY, "--set=minibatches=1"]


@pytest.fixture(scope="module")
def trained(tmp_path_factory):
    """A run of the paper's preset cut down: joint MADDPG, both baselines, two seeds."""
    out = tmp_path_factory.mktemp("rl") / "trained"
    small = ["--set=capacity=100", "--set=batch_size=8", "--set=updates=1"]
    assert run(["rl", "train", "--preset", "paper", "--out", str(out), *SMALL[:-1], *small]) == 0
    return out


def test_train_writes_agents_rows_and_report(trained):
    found = read_run(trained)
    assert found.complete and (trained / "report.html").is_file()
    kept = {(row["condition"], row.get("seed"), row["metric"]) for row in found.rows}
    assert {("deceptive", 1, "trapped"), ("honest", 0, "soo_log_untrapped")} <= kept
    assert {row["step"] for row in found.training} == {1, 2}
    assert found.config["recipe"]["baseline"]["environments"] == 2


def test_finetune_and_evaluate_go_on_from_a_run(trained, tmp_path):
    small = ["--set=iterations=1", "--episodes", "4", "--quiet"]
    tuned, measured = tmp_path / "tuned", tmp_path / "measured"
    assert (
        run(
            [
                "rl",
                "finetune",
                str(trained),
                "--treatment",
                "soo",
                "--out",
                str(tuned),
                *small,
                "--distance",
                "normalised_mse",
            ]
        )
        == 0
    )
    assert {row["condition"] for row in read_run(tuned).rows} >= {"deceptive", "soo"}
    elsewhere = [str(tmp_path / "elsewhere"), *small, "--world", "blue_sight=0"]
    assert run(["rl", "finetune", str(trained), "--out", *elsewhere]) == 0
    assert read_run(tmp_path / "elsewhere").config["settings"]["world"] == {"blue_sight": 0.0}
    options = ["--episodes", "4", "--quiet", "--hide-red", "--world", "sight=0.5"]
    assert run(["rl", "evaluate", str(trained), "--out", str(measured), *options]) == 0
    assert run(["rl", "evaluate", str(trained), "--out", str(tmp_path / "still"), *options[:3], "--still"]) == 0
    still = {row["value"] for row in read_run(tmp_path / "still").rows if row["metric"] == "deceptive_rate"}
    assert still == {0.0}, "who stands still makes no deceptive move"
    assert read_run(measured).config["settings"]["world"] == {"sight": 0.5}


def test_deceptive_agents_of_one_run_are_told_from_honest_ones_of_another(tmp_path):
    one, other, both = tmp_path / "one", tmp_path / "other", tmp_path / "both"
    small = ["--preset", "paper", "--set=capacity=100", "--set=batch_size=8", "--set=updates=1", "--set=hidden=[8]"]
    for out, condition in ((one, "deceptive"), (other, "honest")):
        assert run(["rl", "train", "--condition", condition, "--out", str(out), *SMALL[:-1], *small]) == 0
    assert run(["rl", "evaluate", str(one), str(other), "--out", str(both), "--episodes", "4", "--quiet"]) == 0
    rows = read_run(both).rows
    found = {row["metric"] for row in rows if row["condition"] == "detection"}
    assert {"auroc", "accuracy"} <= found
    assert {row["hidden"] for row in rows if row["condition"] == "deceptive"} == {"8"}
    assert "difference_to_honest" in {row["metric"] for row in rows if row["condition"] == "deceptive"}


def test_render_draws_a_gif_and_strips(trained):
    assert run(["rl", "render", str(trained), "--condition", "deceptive,honest", "--episode", "0"]) == 0
    assert (trained / "episodes.gif").read_bytes()[:3] == b"GIF"
    assert (trained / "episode_honest.png").read_bytes()[1:4] == b"PNG"


@pytest.mark.parametrize(
    "arguments, words",
    [
        (["train", "--preset", "papre"], "preset 'papre' is unknown; choose trusting-red"),
        (["train", "--seed", "0,0"], "name one twice"),
        (["train", "--seed", "a"], "write numbers with commas"),
        (["train", "--seed", "0,7-3"], "or a range such as 0-7"),
        (["train", "--seed", "0-99999999999"], "or a range such as 0-7"),
        (["train", "--condition", "kind"], "condition 'kind' is unknown"),
        (["train", "--set", "gama=1"], "setting 'gama' is unknown"),
        (["train", "--set", "minibatches=7"], "must divide environments x steps"),
        (["train", "--preset", "paper", "--set", "batch_size=1000000"], "larger than what the replay buffer holds"),
        (["train", "--episodes", "0"], "--episodes must be at least 1"),
        (["train", "--config", "nowhere.json"], "nowhere.json: no such file"),
        (["reproduce", "--reds", "0"], "reds must be at least 1"),
        (["reproduce", "--controls", "0"], "--controls must be at least 1"),
        (["evaluate", "nowhere", "--world", 'sight="far"'], "--world sight: must be a number, found 'far'"),
        (["finetune", "nowhere"], "no such run folder"),
        (["finetune", "nowhere", "--world", "blue_sight=false"], "--world blue_sight: must be a number, found False"),
        (["evaluate", "nowhere"], "no such run folder"),
    ],
)
def test_bad_input_is_one_line_and_leaves_nothing(arguments, words, tmp_path, capsys):
    out = tmp_path / "out"
    assert run(["rl", *arguments, "--out", str(out), "--quiet"]) == 2
    said = capsys.readouterr().err.strip()
    assert words in said and "\n" not in said
    assert not out.exists()


def test_seeds_are_numbers_and_ranges_with_both_ends():
    assert numbers("seed", "0-3,12, 7-7") == (0, 1, 2, 3, 12, 7)
    assert numbers("layer", "-5,2") == (-5, 2), "a minus sign is no range"
    assert numbers("rate", "1e-3,2", float) == (0.001, 2.0)


def test_too_little_memory_is_one_line_with_a_cure(tmp_path, monkeypatch, capsys):
    def full(*_, **__):
        raise jax.errors.JaxRuntimeError("RESOURCE_EXHAUSTED: Out of memory allocating 36003955312 bytes.")

    monkeypatch.setattr("soo_jax.jobs.agents.train_followers", full)
    assert run(["rl", "train", "--seed", "0", "--out", str(tmp_path / "out"), "--quiet"]) == 2
    said = capsys.readouterr().err.strip()
    assert said == ("soo: error: out of memory (33.5 GiB were asked for): take fewer seeds, rows or agents at once")
    assert not read_run(tmp_path / "out").complete


def test_runs_that_do_not_fit_are_refused(trained, tmp_path, capsys):
    told = json.loads((trained / "config.json").read_text())
    other = tmp_path / "other"
    other.mkdir()
    for path in trained.iterdir():
        if path.is_file():
            (other / path.name).write_bytes(path.read_bytes())
    told["recipe"]["blue"] = told["recipe"].pop("baseline")  # as earlier versions called it
    told["recipe"]["bonus"] = told["recipe"].pop("world")["deception_bonus"]
    (other / "config.json").write_text(json.dumps(told))
    assert run(["rl", "evaluate", str(other), "--out", str(tmp_path / "earlier"), "--episodes", "2", "--quiet"]) == 0
    told["recipe"]["blue"]["hidden"] = [8, 8]
    (other / "config.json").write_text(json.dumps(told))
    assert run(["rl", "evaluate", str(other), "--out", str(tmp_path / "out"), "--quiet"]) == 2
    assert "made with another config" in capsys.readouterr().err


def test_settings_that_an_earlier_version_did_not_know_are_not_taken_for_those_of_todays_preset():
    told = json.loads(json.dumps({"preset": "paper", "recipe": agent_folders.described(preset("paper"))}))
    for part in ("baseline", "finetune"):
        assert told["recipe"][part].pop("batch_norm") == ["observations", "actions"]
    found = agent_folders._recipe_of(Path("run"), told)
    assert found.baseline.batch_norm == found.finetune.batch_norm == ()
    assert found.baseline.capacity == preset("paper").baseline.capacity


@pytest.mark.slow
def test_nan_in_the_rewards_is_said_with_iteration_and_seed(tmp_path, capsys, monkeypatch):
    from soo_jax.rl import presets

    # The red's part is not what this is about.
    monkeypatch.setattr(presets, "_FOLLOWER", presets._FOLLOWER.replace(iterations=1, environments=8))
    out = tmp_path / "nan"
    assert run(["rl", "train", "--condition", "honest", "--out", str(out), *SMALL, "--set=critic_rate=1e12"]) == 0
    assert "soo: warning: 2 of 2 agents stopped learning" in capsys.readouterr().err
    log = (out / "log.txt").read_text()
    assert "honest, red 0, seed 1: a number was not finite in iteration 1" in log
    assert all(np.isfinite(row["value"]) for row in read_run(out).rows if row["metric"] == "trapped")
    assert all(row["frozen"] for row in read_run(out).training)
    assert "stopped learning" in (out / "report.html").read_text()


def test_agents_that_a_run_does_not_have_are_named_beside_those_that_it_has(trained, capsys):
    for more in (["--condition", "escort"], ["--seed", "7"]):
        assert run(["rl", "render", str(trained), *more]) == 2
    escort, seventh = capsys.readouterr().err.strip().splitlines()
    there = "there are no such agents; there are conditions deceptive, honest; reds 0; seeds 0, 1"
    assert escort.endswith(f"escort, red 0, seed 0: {there}") and seventh.endswith(f"deceptive, red 0, seed 7: {there}")


@pytest.mark.slow
def test_an_interrupted_reproduction_goes_on_with_its_stages_and_only_with_its_settings(tmp_path, capsys, monkeypatch):
    from dataclasses import replace

    from soo_jax.jobs import agents as jobs
    from soo_jax.rl import presets
    from soo_jax.rl.reproduce import Extent

    whole = presets.preset("trusting-red")
    small = {"iterations": 1, "environments": 2, "steps": 5, "minibatches": 1}
    recipe = replace(
        whole,
        follower=whole.follower.replace(**small),
        baseline=whole.baseline.replace(**small),
        finetune=whole.finetune.replace(**small),
    )
    out, extent = tmp_path / "run", Extent(seeds=(0,), reds=2, controls=1, episodes=4)
    real = jobs.geometry
    monkeypatch.setattr(jobs, "geometry", lambda *_: (_ for _ in ()).throw(KeyboardInterrupt))
    with pytest.raises(KeyboardInterrupt):
        jobs.run_reproduce(out, recipe, extent)
    monkeypatch.setattr(jobs, "geometry", real)
    monkeypatch.setattr("soo_jax.rl.experiment.train_population", None)  # whatever is done must not be done again
    with pytest.raises(SooError, match=r"begun with other settings \(settings\)"):
        jobs.run_reproduce(out, recipe, replace(extent, episodes=5), resume=True)
    jobs.run_reproduce(out, recipe, extent, resume=True)
    found = read_run(out)
    assert found.complete
    conditions = {row["condition"] for row in found.rows}
    assert {
        "soo",
        "control:hidden",
        "control:still",
        "control:random_direction",
        "relapse:soo",
        "avoid@hidden",
        "detection",
    } <= conditions
    assert {"soo@wide_sight", "soo@unseen_red", "soo_on_escort", "control:more_rl_on_avoid"} <= conditions
    assert (out / "geometry.safetensors").is_file() and (out / "surfaces.safetensors").is_file()
