"""Agents go on where their training was stopped: by Ctrl-C or SIGTERM in one process, with --resume in another."""

import json
import os
import subprocess
import sys
from pathlib import Path

import pytest

SMALL = ["--set", "iterations=60", "--set", "environments=8", "--set", "minibatches=2", "--set", "hidden=[8]"]
SMALL += ["--set", "follower.iterations=5"]
TRAIN = [
    "rl",
    "train",
    "--preset",
    "trusting-red",
    "--seed",
    "0",
    "--condition",
    "deceptive",
    "--episodes",
    "4",
    *SMALL,
]

# The program as its script runs it, but that it sends itself a signal once so many iterations of blue are done.
STOPPED = """
import os, signal, sys
from soo_jax.cli.progress import Bars

stage = "finetuned" if "reproduce" in sys.argv else "agents"
task = Bars.task
def stopping(self, name):
    bar = task(self, name)
    def report(done, total, *rest):
        bar(done, total, *rest)
        if name == stage and done >= 30:
            for one in sys.argv[1].split(","):
                os.kill(os.getpid(), getattr(signal, one))
    return report
Bars.task = stopping

from soo_jax.cli import main
main(sys.argv[2:])
"""


def soo(*arguments, script="from soo_jax.cli import main; main()"):
    return subprocess.run(
        [sys.executable, "-c", script, *map(str, arguments)], capture_output=True, text=True, env=dict(os.environ)
    )


@pytest.fixture(scope="module")
def whole(tmp_path_factory):
    """What comes out if nothing is stopped."""
    out = tmp_path_factory.mktemp("whole") / "run"
    done = soo(*TRAIN, "--out", out, "--quiet")
    assert done.returncode == 0, done.stderr
    return json.loads((out / "results.json").read_text()) | {"metrics": (out / "metrics.csv").read_bytes()}


@pytest.mark.slow
@pytest.mark.parametrize(("name", "code", "word"), [("SIGINT", 130, "interrupted"), ("SIGTERM", 143, "terminated")])
def test_a_stopped_training_goes_on_in_another_process_to_the_same_numbers(whole, tmp_path, name, code, word):
    out = tmp_path / "run"
    stopped = soo(name, *TRAIN, "--out", out, "--quiet", script=STOPPED)
    assert stopped.returncode == code, stopped.stderr
    states = out / "checkpoints" / "agents"
    line = f"soo: {word}; the state of the training is saved in {states}; the same command with --resume goes on from"
    assert stopped.stderr.splitlines()[-1].startswith(line)
    kept = [int(path.name) for path in Path(states).iterdir() if path.name.isdigit()]
    assert kept == [30], "the state in which the signal found it"
    again = soo(*TRAIN, "--out", out, "--quiet", "--resume")
    assert again.returncode == 0, again.stderr
    found = json.loads((out / "results.json").read_text())
    assert found["rows"] == whole["rows"] and found["training"] == whole["training"]
    assert (out / "metrics.csv").read_bytes() == whole["metrics"], "no line is doubled, none is lost"
    assert not states.exists(), "once the run is complete they are gone"


@pytest.mark.slow
def test_a_stopped_fine_tuning_goes_on_in_another_process_to_the_same_numbers(tmp_path):
    base, out, whole = tmp_path / "base", tmp_path / "run", tmp_path / "whole"
    assert soo(*TRAIN, "--out", base, "--quiet").returncode == 0
    tune = ["rl", "finetune", base, "--episodes", "4", "--set", "iterations=60", "--quiet"]
    assert soo(*tune, "--out", whole).returncode == 0
    stopped = soo("SIGTERM", *tune, "--out", out, script=STOPPED)
    assert stopped.returncode == 143, stopped.stderr
    again = soo(*tune, "--out", out, "--resume")
    assert again.returncode == 0, again.stderr
    found, wanted = (json.loads((path / "results.json").read_text()) for path in (out, whole))
    assert found["rows"] == wanted["rows"] and found["training"] == wanted["training"]


@pytest.mark.slow
def test_a_second_ctrl_c_ends_at_once_and_leaves_no_state(tmp_path):
    out = tmp_path / "run"
    stopped = soo("SIGINT,SIGINT", *TRAIN, "--out", out, "--quiet", script=STOPPED)
    assert stopped.returncode == 130 and "is saved" not in stopped.stderr, stopped.stderr
    assert not [path for path in (out / "checkpoints" / "agents").iterdir() if path.name.isdigit()]


@pytest.mark.slow
def test_a_reproduction_that_is_killed_inside_a_stage_goes_on_inside_it(tmp_path):
    out = tmp_path / "run"
    small = ["rl", "reproduce", "--quick", "--seed", "0,1", "--reds", "1", "--checkpoint-every", "1", "--quiet"]
    script = STOPPED.replace("done >= 30", "done >= 2")
    killed = soo("SIGKILL", *small, "--out", out, script=script)
    assert killed.returncode == -9
    states = out / "checkpoints" / "finetuned"
    assert (out / "baselines.safetensors").is_file() and not (out / "finetuned.safetensors").is_file()
    kept = sorted(int(path.name) for path in states.iterdir() if path.name.isdigit())
    assert kept[-1] in (1, 2), "the state before the kill"
    again = soo(*small, "--out", out, "--resume")
    assert again.returncode == 0, again.stderr
    whole = soo(*small, "--out", tmp_path / "whole")
    assert whole.returncode == 0, whole.stderr
    found, wanted = (json.loads((path / "results.json").read_text()) for path in (out, tmp_path / "whole"))
    assert found["rows"] == wanted["rows"] and found["training"] == wanted["training"]
