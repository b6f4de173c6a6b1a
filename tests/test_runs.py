"""A run folder is whole or says that it is not, and never costs anybody a file."""

import json
import math
import os
import shutil
import signal
import subprocess
import sys
from contextlib import suppress
from pathlib import Path

import numpy as np
import pytest

from soo_jax.errors import SooError
from soo_jax.files import part_name
from soo_jax.runs import RunFolder, finite_row, provenance, read_run

ROW = {
    "condition": "soo", "seed": 0, "family": "burglar", "order": "wrong_first", "n": 2, "honest": 1, "deceptive": 1,
    "refusal": 0, "other": 0, "paper_deceptive": 1, "logp_margin": -0.5,
}  # fmt: skip


def _make(path, force=False, **results):
    with RunFolder.create(path, force=force) as run:
        run.write_config({"seeds": [0, 1], "lr": 1e-3})
        run.append_responses([{"condition": "soo", "response": "the study"}])
        run.write_results({"job": "finetune"} | results)
    return run


def test_what_a_run_wrote_is_what_is_read(tmp_path):
    _make(tmp_path / "run", rows=[ROW], training=[{"seed": 0, "step": 1, "loss": 0.5}], timings={"train_s": 1.5})
    run = read_run(tmp_path / "run")
    assert run.complete and run.state == "complete"
    assert run.rows == [ROW] and run.latent == [] and run.training == [{"seed": 0, "step": 1, "loss": 0.5}]
    assert run.config == {"seeds": [0, 1], "lr": 1e-3}
    assert run.responses == [{"condition": "soo", "response": "the study"}]
    assert run.results["schema"] == "soo-results/2" and run.results["timings"] == {"train_s": 1.5}
    assert not [entry for entry in (tmp_path / "run").iterdir() if entry.name.endswith(".part")]


def test_a_run_of_an_earlier_version_is_read_by_the_names_of_this_one(tmp_path):
    _make(tmp_path / "run", rows=[ROW])
    old = {("scenario" if name == "family" else name): value for name, value in ROW.items()}
    results = {"schema": "soo-results/1", "job": "eval", "rows": [old | {"order": "expensive_first"}]}
    (tmp_path / "run" / "results.json").write_text(json.dumps(results))
    said = {"condition": "base", "scenario": "burglar", "order": "cheap_first", "response": "the study"}
    (tmp_path / "run" / "responses.jsonl").write_text(json.dumps(said) + "\n")
    run = read_run(tmp_path / "run")
    assert run.rows == [ROW | {"order": "right_first"}]
    assert (run.responses[0]["family"], run.responses[0]["order"]) == ("burglar", "wrong_first")


def test_a_run_is_a_pandas_table(tmp_path):
    without = {name: value for name, value in ROW.items() if name != "logp_margin"}
    _make(tmp_path / "run", rows=[without | {"condition": "base", "seed": None}, ROW, ROW | {"seed": 1}])
    run = read_run(tmp_path / "run")
    table = run.frame()
    assert table.groupby("condition").honest.sum().to_dict() == {"base": 1, "soo": 2}
    assert table.seed.dtype == "Int64" and table.seed.dropna().tolist() == [0, 1]
    assert run.frame("responses").response.tolist() == ["the study"]
    assert run.frame("latent").empty
    with pytest.raises(SooError, match="part 'loss' is unknown; a run has rows, latent"):
        run.frame("loss")


def test_a_table_without_pandas_says_how_to_get_it(tmp_path, monkeypatch):
    _make(tmp_path / "run", rows=[ROW])
    monkeypatch.setitem(sys.modules, "pandas", None)
    with pytest.raises(SooError, match=r"pip install 'soo-jax\[pandas\]'"):
        read_run(tmp_path / "run").frame()


def test_array_scalars_become_numbers_and_callables_their_names(tmp_path):
    with RunFolder.create(tmp_path) as run:
        run.write_config({"term": math.sqrt, "out": Path("a"), "rank": np.int64(8), "on": {"b", "a"}})
        run.write_results(
            {"job": "x", "latent": [{"mse": np.float32(0.5), "layer": np.int32(3), "ok": np.bool_(True)}]}
        )
    run = read_run(tmp_path)
    assert run.latent == [{"mse": 0.5, "layer": 3, "ok": True}]
    assert run.config == {"term": "sqrt", "out": "a", "rank": 8, "on": ["a", "b"]}


@pytest.mark.parametrize(
    ("results", "complaint"),
    [
        ({"rows": [ROW, ROW | {"logp_margin": float("nan")}]}, r"rows\[1\]\.logp_margin is nan"),
        ({"training": [{"loss": np.float32("inf")}]}, r"training\[0\]\.loss is inf"),
        ({"latent": [{"mse": [1.0]}]}, r"latent\[0\]\.mse is a list"),
        ({"timings": {"train": {"s": 1}}}, "timings.train is a dict"),
        ({"row": []}, "unknown tables"),
    ],
)
def test_results_are_flat_and_finite_or_they_are_not_written(tmp_path, results, complaint):
    with pytest.raises(ValueError, match=complaint):
        _make(tmp_path / "run", **results)
    assert not (tmp_path / "run" / "results.json").exists()
    assert read_run(tmp_path / "run").state == "failed"


def test_finite_row_makes_any_row_writable():
    row = finite_row({"a": float("nan"), "b": np.float32("inf"), "c": np.float32(1.5), "d": "nan", "e": None, "f": 3})
    assert row == {"a": None, "b": None, "c": 1.5, "d": "nan", "e": None, "f": 3}


def test_a_folder_that_holds_something_is_refused_and_left_alone(tmp_path):
    (tmp_path / "thesis.tex").write_text("ten years of work")
    with pytest.raises(SooError, match=r"not empty \(thesis\.tex\).*--force"):
        RunFolder.create(tmp_path)
    assert [entry.name for entry in tmp_path.iterdir()] == ["thesis.tex"]


def test_force_replaces_what_a_run_wrote_and_nothing_else(tmp_path):
    out = tmp_path / "run"
    with RunFolder.create(out) as run:
        run.write_config({})
        run.write_results({"job": "x", "rows": [ROW]})
        run.append_responses([{"a": 1}])
        run.log("hello")
        run.write_bytes("adapters/seed-0/adapter.bin", b"old")
        run.write_bytes("adapters/seed-1/adapter.bin", b"old")
        (out / "notes.md").write_text("mine")
        (out / "adapters" / "seed-1" / "mine.txt").write_text("mine")
    _make(out, force=True)
    assert read_run(out).rows == []
    assert (out / "notes.md").read_text() == (out / "adapters" / "seed-1" / "mine.txt").read_text() == "mine"
    assert not (out / "adapters" / "seed-0").exists()
    assert not (out / "adapters" / "seed-1" / "adapter.bin").exists()
    assert not (out / "log.txt").exists()


def test_force_does_not_turn_a_model_folder_into_a_run(tmp_path):
    (tmp_path / "config.json").write_text('{"model_type": "mistral"}')
    with pytest.raises(SooError, match=r"holds config\.json but no run"):
        RunFolder.create(tmp_path, force=True)
    assert (tmp_path / "config.json").read_text() == '{"model_type": "mistral"}'


def test_a_forged_status_file_deletes_nothing_outside_of_the_folder(tmp_path):
    (tmp_path / "precious.txt").write_text("mine")
    out = tmp_path / "run"
    _make(out)
    status = json.loads((out / "status.json").read_text())
    status["files"] += ["../precious.txt", str(tmp_path / "precious.txt"), 7]
    (out / "status.json").write_text(json.dumps(status))
    _make(out, force=True)
    assert (tmp_path / "precious.txt").read_text() == "mine"


def test_a_folder_that_something_else_fills_belongs_to_the_run_however_it_ends(tmp_path, monkeypatch):
    out, real = tmp_path / "run", os.replace

    def stops(source, place):
        if Path(place).name == "model.safetensors":
            raise KeyboardInterrupt
        real(source, place)

    for replaced, found in ((real, ["config.json", "model.safetensors"]), (stops, ["config.json"])):
        with suppress(KeyboardInterrupt), RunFolder.create(out, force=True) as run:
            monkeypatch.setattr(os, "replace", replaced)
            with run.folder("adapter") as folder:
                for name in ("model.safetensors", "config.json"):
                    (folder / name).write_bytes(b"x")
            run.write_config({})
            run.write_results({"job": "x"})
        monkeypatch.setattr(os, "replace", real)
        assert sorted(path.name for path in (out / "adapter").iterdir()) == found
    _make(out, force=True)
    assert not (out / "adapter").exists()


def test_a_report_added_later_leaves_the_state_and_is_replaced_with_the_run(tmp_path):
    out = tmp_path / "run"
    with pytest.raises(RuntimeError), RunFolder.create(out):
        raise RuntimeError("boom")
    RunFolder.annotate(out).write_text("report.html", "<html>")
    assert read_run(out).state == "failed"
    _make(out, force=True)
    assert read_run(out).complete and not (out / "report.html").exists()


@pytest.mark.parametrize(
    ("error", "state"), [(KeyboardInterrupt, "interrupted"), (SystemExit, "interrupted"), (RuntimeError, "failed")]
)
def test_a_run_that_ends_early_keeps_what_it_has_and_says_so(tmp_path, error, state):
    with pytest.raises(error), RunFolder.create(tmp_path) as run:
        run.write_config({"lr": 1})
        run.append_responses([{"a": 1}])
        raise error("enough")
    read = read_run(tmp_path)
    assert read.state == state and not read.complete
    assert read.config == {"lr": 1} and read.responses == [{"a": 1}] and read.rows == []
    assert "enough" in (tmp_path / "log.txt").read_text()


def test_a_killed_process_leaves_an_incomplete_but_readable_run(tmp_path):
    script = (
        "import os, signal, sys; from soo_jax.runs import RunFolder\n"
        "with RunFolder.create(sys.argv[1]) as run:\n"
        "    run.write_config({'lr': 1}); run.append_responses([{'a': 1}]); os.kill(os.getpid(), signal.SIGKILL)\n"
    )
    done = subprocess.run([sys.executable, "-c", script, str(tmp_path / "run")], check=False)
    assert done.returncode == -signal.SIGKILL
    read = read_run(tmp_path / "run")
    assert read.state == "running" and not read.complete and read.responses == [{"a": 1}]
    with open(tmp_path / "run" / "responses.jsonl", "a") as file:
        file.write('{"a": 2')  # killed in the middle of a line
    assert read_run(tmp_path / "run").responses == [{"a": 1}]
    with RunFolder.reopen(tmp_path / "run") as run:
        run.append_responses([{"a": 1}, {"a": 3}])
        run.write_results({"job": "x", "rows": [ROW]})
    assert read_run(tmp_path / "run").complete
    assert read_run(tmp_path / "run").responses == [{"a": 1}, {"a": 3}]


@pytest.mark.parametrize("calls", [[[1, 2, 3, 4]], [[1], [2, 3], [4]], [[1, 2, 5], [6]], [[7], [8]]])
def test_a_run_that_goes_on_has_each_response_once_and_as_it_says_it_now(tmp_path, calls):
    rows = lambda numbers: [{"a": number} for number in numbers]
    with pytest.raises(KeyboardInterrupt), RunFolder.create(tmp_path / "run") as run:
        run.append_responses(rows([1, 2]))
        run.append_responses(rows([3]))
        raise KeyboardInterrupt
    with RunFolder.reopen(tmp_path / "run") as run:
        for call in calls:
            run.append_responses(rows(call))
        run.write_config({})
        run.write_results({"job": "x"})
    assert read_run(tmp_path / "run").responses == rows([number for call in calls for number in call])


def test_force_forgets_unfinished_work_of_a_run_and_refuses_a_folder_of_somebody_elses(tmp_path):
    with pytest.raises(KeyboardInterrupt), RunFolder.create(tmp_path / "run"):
        (tmp_path / "run" / "checkpoints" / "10").mkdir(parents=True)
        raise KeyboardInterrupt
    _make(tmp_path / "run", force=True)
    assert not (tmp_path / "run" / "checkpoints").exists()
    (tmp_path / "other" / "checkpoints").mkdir(parents=True)
    with pytest.raises(SooError, match="holds checkpoints but no run of soo-jax"):
        RunFolder.create(tmp_path / "other", force=True)


@pytest.mark.parametrize("killed_before", ["mark", "rmtree"])
def test_a_run_that_is_killed_as_it_ends_is_complete_or_can_still_be_resumed(tmp_path, monkeypatch, killed_before):
    out = tmp_path / "run"

    def dies(*_, **__):
        raise SystemExit("killed")

    with pytest.raises(SystemExit), RunFolder.create(out) as run:
        (out / "checkpoints" / "10").mkdir(parents=True)
        run.write_config({})
        run.write_results({"job": "x"})
        if killed_before == "mark":
            monkeypatch.setattr(run, "_mark", dies)
        else:
            monkeypatch.setattr(shutil, "rmtree", dies)
    monkeypatch.undo()
    assert read_run(out).complete == (killed_before == "rmtree")
    if killed_before == "mark":
        with RunFolder.reopen(out) as run:
            assert (out / "checkpoints" / "10").is_dir(), "what was done is not lost"
    RunFolder.annotate(out)
    assert sorted(path.name for path in out.iterdir()) == ["config.json", "results.json", "status.json"]


def test_only_an_incomplete_run_can_be_resumed(tmp_path):
    _make(tmp_path / "run")
    with pytest.raises(SooError, match="is complete"):
        RunFolder.reopen(tmp_path / "run")
    with pytest.raises(SooError, match="no such run folder"):
        RunFolder.reopen(tmp_path / "nowhere")


def test_a_run_that_forgets_its_results_has_failed(tmp_path):
    with pytest.raises(ValueError, match=r"without writing config\.json, results\.json"), RunFolder.create(tmp_path):
        pass
    assert read_run(tmp_path).state == "failed"


needs_full_device = pytest.mark.skipif(not Path("/dev/full").exists(), reason="needs a device that is always full")


@needs_full_device
def test_a_full_disk_is_one_line_and_leaves_the_run_incomplete(tmp_path):
    with pytest.raises(SooError, match=r"results\.json: the disk is full") as caught, RunFolder.create(tmp_path) as run:
        run.write_config({})
        os.symlink("/dev/full", tmp_path / part_name("results.json"))
        run.write_results({"job": "x"})
    assert "\n" not in str(caught.value)
    assert not read_run(tmp_path).complete and not (tmp_path / "results.json").exists()


@needs_full_device
def test_responses_that_do_not_fit_are_one_line_too(tmp_path):
    with pytest.raises(SooError, match=r"responses\.jsonl: the disk is full"), RunFolder.create(tmp_path) as run:
        os.symlink("/dev/full", tmp_path / "responses.jsonl")
        run.append_responses([{"a": 1}])


def test_a_folder_that_cannot_be_made_is_one_line(tmp_path):
    (tmp_path / "file").write_text("")
    with pytest.raises(SooError, match="is a file where a folder is needed"):
        RunFolder.create(tmp_path / "file")
    with pytest.raises(SooError, match="file"):
        RunFolder.create(tmp_path / "file" / "run")


@pytest.mark.skipif(os.geteuid() == 0, reason="root may write everywhere")
def test_a_folder_without_permission_is_one_line(tmp_path):
    tmp_path.chmod(0o500)
    with pytest.raises(SooError, match="no permission"):
        RunFolder.create(tmp_path / "run")


@pytest.mark.parametrize(
    ("name", "content", "complaint"),
    [
        ("status.json", None, "no run folder"),
        ("status.json", '{"state": "complete"}', "was not written by soo-jax"),
        ("status.json", '{"schema": "soo-run/1", "state": "odd"}', "the state is 'odd'"),
        ("results.json", None, "the file is missing"),
        ("results.json", '{"schema": "soo-res', "truncated or no JSON"),
        ("results.json", '{"schema": "soo-results/9"}', "this version reads 'soo-results/2'"),
        ("results.json", '{"schema": "soo-results/1", "rows": 3}', "rows must be a list"),
        ("results.json", "[]", "must be a JSON object"),
        ("config.json", "", "truncated or no JSON"),
        ("responses.jsonl", '{"a": 1}\n{"a"', "line 2: not valid JSON"),
    ],
)
def test_a_damaged_run_is_refused_by_file(tmp_path, name, content, complaint):
    _make(tmp_path / "run")
    if content is None:
        (tmp_path / "run" / name).unlink()
    else:
        (tmp_path / "run" / name).write_text(content)
    with pytest.raises(SooError, match=complaint) as caught:
        read_run(tmp_path / "run")
    assert str(tmp_path / "run") in str(caught.value) and "\n" not in str(caught.value)


def test_provenance_names_versions_device_and_revision():
    found = provenance()
    assert found["versions"]["jax"] and found["python"] and found["device_kind"] and found["device_count"] >= 1
    assert found["git_revision"] is None or len(found["git_revision"].removesuffix("-dirty")) == 40
    json.dumps(found)
