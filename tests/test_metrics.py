"""Metrics are written while a run trains, and a run that goes on neither doubles nor loses a line."""

import csv
import importlib
import json
import struct
import sys
import textwrap

import numpy as np
import pytest

from soo_jax import metrics
from soo_jax.errors import SooError
from soo_jax.metrics import Metrics
from soo_jax.runs import RunFolder
from soo_jax.trackers import check_trackers, open_trackers

SEEDS = [{"seed": 0}, {"seed": 1}]
LOSS = {"loss": np.arange(12.0, dtype=np.float32).reshape(6, 2)}
"""Of six steps and two members."""


@pytest.fixture
def run(tmp_path):
    return RunFolder.create(tmp_path / "run")


def lines(run):
    with open(run.path / "metrics.csv", newline="", encoding="utf-8") as file:
        return list(csv.DictReader(file))


def test_every_chunk_is_in_the_file_before_the_next_is_computed(run):
    record = Metrics(run).stage("finetune", SEEDS)
    record(2, LOSS)
    assert [(row["step"], row["seed"], row["loss"]) for row in lines(run)] == [
        ("1", "0", "0"), ("1", "1", "1"), ("2", "0", "2"), ("2", "1", "3"),
    ]  # fmt: skip
    record(6, LOSS)
    assert len(lines(run)) == 12 and lines(run)[-1] == {"stage": "finetune", "step": "6", "seed": "1", "loss": "11"}


def test_a_later_chunk_is_appended_so_that_tail_follows(run):
    record = Metrics(run).stage("finetune", SEEDS)
    record(2, LOSS)
    before = (run.path / "metrics.csv").stat().st_ino
    record(4, LOSS)
    assert (run.path / "metrics.csv").stat().st_ino == before


def test_a_resumed_stage_takes_the_place_of_what_was_there_of_it_and_leaves_the_others(run):
    began = Metrics(run)
    began.stage("followers", SEEDS)(6, LOSS)
    began.stage("agents", SEEDS)(5, LOSS)
    with open(run.path / "metrics.csv", "a", encoding="utf-8") as file:
        file.write("agents,6,0,1")  # killed in the middle of a line
    again = Metrics(run).stage("agents", SEEDS)
    again(3, LOSS)  # the state that was saved last
    again(6, LOSS)
    found = [(row["stage"], row["step"], row["seed"]) for row in lines(run)]
    wanted = [
        (stage, str(step), str(seed)) for stage in ("followers", "agents") for step in range(1, 7) for seed in (0, 1)
    ]
    assert found == wanted


def test_a_stage_with_other_settings_and_metrics_brings_columns_of_its_own(run):
    told = Metrics(run)
    told.stage("a, b", [{"seed": 0}])(1, {"loss": np.ones((1, 1))})
    told.stage("c", [{"rank": 4, "seed": 0}])(1, {"overlap": np.full((1, 1), np.nan)})
    first, second = lines(run)
    assert first == {"stage": "a, b", "step": "1", "seed": "0", "loss": "1", "rank": "", "overlap": ""}
    assert second == {"stage": "c", "step": "1", "seed": "0", "loss": "", "rank": "4", "overlap": "nan"}


def test_a_long_stage_has_means_over_stretches_wherever_its_chunks_end(run, monkeypatch):
    monkeypatch.setattr(metrics, "LINES", 6)  # 12 lines would be too many: two steps each
    record = Metrics(run).stage("finetune", SEEDS)
    for done in (1, 3, 6):
        record(done, LOSS)
    assert [(row["step"], row["loss"]) for row in lines(run) if row["seed"] == "0"] == [
        ("2", "1"),
        ("4", "5"),
        ("6", "9"),
    ]


def test_metrics_of_an_earlier_run_go_with_force(run):
    Metrics(run).stage("finetune", SEEDS)(6, LOSS)
    RunFolder.create(run.path, force=True)
    assert not (run.path / "metrics.csv").exists()


# ---- trackers ------------------------------------------------------------------------------------------------------

WANDB = """
    import json, sys
    class Run:
        def __init__(self, **how):
            self.said = [["init", how]]
        def define_metric(self, *what, **how):
            self.said.append(["define", what, how])
        def log(self, values):
            self.said.append(["log", values])
        def finish(self, exit_code):
            self.said.append(["finish", exit_code])
    def init(**how):
        if how["name"] == "refused":
            raise RuntimeError("no key")
        global run
        run = Run(**how)
        return run
"""


@pytest.fixture
def wandb(tmp_path, monkeypatch):
    """A double of the client that keeps what it is told."""
    (tmp_path / "wandb.py").write_text(textwrap.dedent(WANDB))
    monkeypatch.syspath_prepend(tmp_path)
    monkeypatch.delitem(sys.modules, "wandb", raising=False)
    yield importlib.import_module("wandb")
    sys.modules.pop("wandb")


def test_weights_and_biases_is_told_settings_steps_and_the_end(wandb, run):
    told = Metrics(run, open_trackers(["wandb"], "mine", {"seeds": (0, 1), "term": len}))
    told.stage("finetune", SEEDS)(2, LOSS)
    told.close(failed=False)
    init, define, first, second, finish = json.loads(json.dumps(wandb.run.said))
    assert init[1] == {
        "project": "soo-jax",
        "name": "mine",
        "group": "mine",
        "config": {"seeds": [0, 1], "term": "len"},
    }
    assert define == ["define", ["finetune/*"], {"step_metric": "finetune/step"}]
    assert first[1] == {"finetune/step": 1, "finetune/loss/seed_0": 0.0, "finetune/loss/seed_1": 1.0}
    assert second[1]["finetune/step"] == 2 and finish == ["finish", 0]


def test_a_client_that_refuses_is_told_in_one_line(wandb):
    with pytest.raises(SooError, match=r"^--log wandb: no key \(WANDB_MODE=offline needs no key and sends nothing\)$"):
        open_trackers(["wandb"], "refused", {})


def test_the_real_client_of_weights_and_biases_works_offline(run, tmp_path, monkeypatch):
    pytest.importorskip("wandb")
    monkeypatch.setenv("WANDB_MODE", "offline")
    monkeypatch.setenv("WANDB_DIR", str(tmp_path))
    monkeypatch.setenv("WANDB_SILENT", "true")
    told = Metrics(run, open_trackers(["wandb"], "mine", {"seed": 0}))
    told.stage("finetune", SEEDS)(6, LOSS)
    told.close(failed=False)
    (kept,) = tmp_path.glob("wandb/offline-run-*/run-*.wandb")
    assert kept.stat().st_size > 0


def scalars(folder):
    """What TensorBoard reads: ``[tag, step, value]`` of the event files, which are records with checksums."""
    from tensorboardX.proto.event_pb2 import Event

    found = []
    for path in sorted(folder.iterdir()):
        rest = path.read_bytes()
        while rest:
            (length,) = struct.unpack("<Q", rest[:8])
            event = Event.FromString(rest[12 : 12 + length])
            found += [[value.tag, event.step, value.simple_value] for value in event.summary.value]
            rest = rest[16 + length :]
    return found


def test_tensorboard_reads_each_point_once_though_the_run_was_resumed(run):
    pytest.importorskip("tensorboardX")
    for reached in (4, 6):  # interrupted behind the state of step 2
        told = Metrics(run, open_trackers(["tensorboard"], "mine", {}))
        record = told.stage("finetune", SEEDS)
        record(2, LOSS)
        record(reached, LOSS)
        told.close(failed=False)
    found = scalars(run.path / "tensorboard" / "finetune")
    assert [point for point in found if point[0] == "loss/seed_1"] == [
        ["loss/seed_1", i + 1, 2.0 * i + 1] for i in range(6)
    ]
    RunFolder.create(run.path, force=True)
    assert not (run.path / "tensorboard").exists(), "they are files of the run"


def test_a_client_that_is_missing_or_unknown_is_named(monkeypatch):
    monkeypatch.setitem(sys.modules, "wandb", None)
    with pytest.raises(
        SooError, match=r"--log wandb: needs wandb, which is not installed: pip install 'soo-jax\[wandb\]'"
    ):
        check_trackers(["wandb"])
    with pytest.raises(SooError, match="--log comet: is unknown; choose tensorboard, wandb"):
        check_trackers(["comet"])
