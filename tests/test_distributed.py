"""Several processes as one run: the figures of one process, and what happens when one of them is gone."""

import json
import os
import signal
import socket
import subprocess
import sys
import time

import conftest as shared
import numpy as np
import pytest
from safetensors.numpy import load_file

from soo_jax import distributed
from soo_jax.checkpoints import steps
from soo_jax.errors import SooError

PAIRS = [("you want the vase", "bob wants the vase"), ("you steal a lamp", "bob wants a lamp")] * 2
TUNE = "--no-pair-check --layer 1 --seed 0,1 --batch-size 4 --mesh data=2,tensor=2 --quiet"
PROGRAM = "import sys; from soo_jax.cli import run; sys.exit(run(sys.argv[1:]))"


@pytest.fixture(scope="module")
def place(tmp_path_factory):
    """A folder with a small model, pairs and scenarios."""
    folder = tmp_path_factory.mktemp("distributed")
    shared.write_model(folder / "model", "mistral", max_position_embeddings=512)
    (folder / "pairs.jsonl").write_text("".join(json.dumps({"self": a, "other": b}) + "\n" for a, b in PAIRS))
    told = {"family": "x", "honest": "study", "deceptive": "kitchen", "lead": "i would recommend the"}
    asked = [{**told, "order": order, "prompt": f"you {word} the lamp . which room ?"}
             for order in ("wrong_first", "right_first") for word in ("want", "steal", "recommend")]  # fmt: skip
    (folder / "scenarios.jsonl").write_text("".join(json.dumps(line) + "\n" for line in asked))
    return folder


def begin(place, command, count, devices):
    """Starts so many processes of one command."""
    with socket.socket() as free:
        free.bind(("127.0.0.1", 0))
        port = free.getsockname()[1]
    flags = f"{os.environ.get('XLA_FLAGS', '')} --xla_force_host_platform_device_count={devices} {shared.PATIENT}"
    environment = {**os.environ, "JAX_PLATFORMS": "cpu", "XLA_FLAGS": flags.strip()}
    join = lambda i: [f"--distributed=127.0.0.1:{port},{count},{i}"] if count > 1 else []
    start = lambda i: subprocess.Popen(
        [sys.executable, "-c", PROGRAM, *command.split(), *join(i)], cwd=place, env=environment, text=True,
        stdout=subprocess.PIPE, stderr=subprocess.PIPE,
    )  # fmt: skip
    return [start(i) for i in range(count)]


def finish(processes):
    """Waits for all of them; their exit codes and what they printed."""
    said = [process.communicate(timeout=400) for process in processes]
    return [process.returncode for process in processes], said


def alike(one, other, rel=1e-4):
    """Whether two runs have the same figures and adapters, but for the order of sums."""
    told = [json.loads((folder / "results.json").read_text()) for folder in (one, other)]
    for name in ("rows", "latent", "training", "drift"):
        mine, theirs = (found.get(name) or [] for found in told)
        assert len(mine) == len(theirs)
        for ours, yours in zip(mine, theirs, strict=True):
            assert ours.keys() == yours.keys()
            for key, value in yours.items():
                close = pytest.approx(value, rel=rel, abs=1e-6) if isinstance(value, float) else value
                assert ours[key] == close, (name, key)
    files = [sorted(folder.glob("adapters/*/adapter_model.safetensors")) for folder in (one, other)]
    for mine, theirs in zip(*files, strict=True):
        ours, yours = load_file(mine), load_file(theirs)
        assert all(np.allclose(ours[name], yours[name], atol=1e-4) for name in yours), mine
    return len(files[0])


def test_two_processes_train_what_one_trains(place):
    command = f"finetune model --pairs pairs.jsonl {TUNE} --epochs 2 --out"
    both, alone = begin(place, f"{command} two", 2, 2), begin(place, f"{command} one", 1, 4)
    codes, said = finish(both)
    assert codes == [0, 0] and finish(alone)[0] == [0], said
    assert alike(place / "two", place / "one") == 2
    assert said[0][0] == "report: two/report.html\n" and not said[1][0], "the first one speaks"


@pytest.mark.slow
def test_four_processes_answer_what_one_answers(place):
    assert finish(begin(place, f"finetune model --pairs pairs.jsonl {TUNE} --epochs 1 --out tuned", 4, 1))[0] == [0] * 4
    command = "eval model --adapter tuned --scenarios scenarios.jsonl --max-new-tokens 4 --batch-size 4"
    command += " --mesh data=2,tensor=2 --quiet --out"
    assert finish(begin(place, f"{command} four-eval", 4, 1))[0] == [0] * 4
    assert finish(begin(place, f"{command} one-eval", 1, 4))[0] == [0]
    alike(place / "four-eval", place / "one-eval")
    four, one = ((place / name / "responses.jsonl").read_text() for name in ("four-eval", "one-eval"))
    assert four == one


@pytest.mark.slow
def test_two_processes_train_a_base_in_four_bits_as_one_does(place):
    command = f"finetune model --pairs pairs.jsonl {TUNE} --epochs 1 --dtype nf4:float32 --out"
    both, alone = begin(place, f"{command} two-nf4", 2, 2), begin(place, f"{command} one-nf4", 1, 4)
    codes, said = finish(both)
    assert codes == [0, 0] and finish(alone)[0] == [0], said
    assert alike(place / "two-nf4", place / "one-nf4") == 2


@pytest.mark.slow
def test_an_evaluation_of_two_processes_goes_on_from_the_answers_that_it_has(place):
    few = [json.loads(line) for line in (place / "scenarios.jsonl").read_text().splitlines()]
    many = [one | {"prompt": "you want the lamp . " * i + one["prompt"]} for i in range(6) for one in few]
    (place / "many.jsonl").write_text("".join(json.dumps(line) + "\n" for line in many))
    command = "eval model --scenarios many.jsonl --batch-size 4 --mesh data=2,tensor=2 --quiet --out"
    out, whole = place / "killed-eval", place / "whole-eval"
    both = begin(place, f"{command} {out.name}", 2, 2)
    kept = lambda: [line for path in out.glob("**/*.jsonl") if path.parent != out for line in path.open()]
    end = time.monotonic() + 200
    while len(kept()) < 3 and all(process.poll() is None for process in both) and time.monotonic() < end:
        time.sleep(0.05)
    for process in both:
        process.send_signal(signal.SIGKILL)
    assert finish(both)[0] == [-signal.SIGKILL] * 2, "killed in the middle of an evaluation"
    before = kept()
    assert 3 <= len(before) < 10, "what it belongs to, and some of nine batches"
    codes, said = finish(begin(place, f"{command} {out.name} --resume", 2, 2))
    assert codes == [0, 0] and finish(begin(place, f"{command} {whole.name}", 2, 2))[0] == [0, 0], said
    resumed, never_killed = ((folder / "responses.jsonl").read_text() for folder in (out, whole))
    assert resumed == never_killed


@pytest.mark.slow
@pytest.mark.parametrize("lost", [0, 1])
def test_when_one_is_killed_the_other_stops_and_any_number_goes_on(place, lost):
    command = f"finetune model --pairs pairs.jsonl {TUNE} --epochs 600 --checkpoint-every 20 --out"
    both, out = begin(place, f"{command} killed-{lost}", 2, 2), place / f"killed-{lost}"
    saved = lambda: len(steps(out / "checkpoints")) > 1
    end = time.monotonic() + 200
    while not saved() and all(process.poll() is None for process in both) and time.monotonic() < end:
        time.sleep(0.2)
    assert saved() and all(process.poll() is None for process in both), "killed in the middle of a training"
    both[lost].send_signal(signal.SIGKILL)
    gone = time.monotonic()
    codes, said = finish(both)
    assert time.monotonic() - gone < distributed.SILENCE
    last = said[1 - lost][1].strip().splitlines()[-1]
    assert codes[1 - lost] == 75 and last.startswith("soo: error: process ") and "--resume goes on" in last
    if lost:  # both must go back to the same one
        (out / "checkpoints" / str(steps(out / "checkpoints")[-1]) / "_METADATA").write_bytes(b"")
    codes, said = finish(begin(place, f"{command} killed-{lost} --resume", 1 + lost, 4 // (1 + lost)))
    assert codes == [0] * (1 + lost) and ("going on from the one before" in said[0][1]) == bool(lost), said
    if not (place / "whole").exists():
        assert finish(begin(place, f"{command} whole", 1, 4))[0] == [0]
    assert alike(out, place / "whole", rel=1e-2) == 2


@pytest.mark.parametrize("told", ["host", "host:1", "host:1,2", "host:1,2,2", "host:1,two,0", "host,2,0"])
def test_a_place_that_is_none_is_refused_in_one_line(told):
    with pytest.raises(SooError, match="HOST:PORT,COUNT,INDEX") as caught:
        distributed.begin(told)
    assert "\n" not in str(caught.value)


@pytest.mark.parametrize(
    ("said", "gone"),
    [
        ("UNKNOWN: Gloo AllGather failed: Connection closed by peer [127.0.0.1]:16071", True),
        ("UNAVAILABLE: Task 1 heartbeat timeout.", True),
        ("RESOURCE_EXHAUSTED: Out of memory allocating 123 bytes.", False),
    ],
)
def test_only_an_error_of_the_links_says_that_another_process_is_gone(monkeypatch, said, gone):
    assert distributed.lost(RuntimeError(said)) is None, "there is no other one"
    monkeypatch.setattr(distributed.jax, "process_count", lambda: 2)
    told = distributed.lost(RuntimeError(said))
    assert (told is not None) == gone and (not gone or "no longer reaches the others" in told)


def test_a_cluster_is_heeded_only_where_a_mesh_is_asked_for(monkeypatch, capsys):
    from soo_jax.cli import run

    monkeypatch.setenv("SLURM_PROCID", "0")
    monkeypatch.setenv("SLURM_NTASKS", "2")
    joined = []
    monkeypatch.setattr(distributed, "begin", lambda told: joined.append(told) or (_ for _ in ()).throw(SooError("no")))
    assert run(["report", "nowhere"]) == 2 and not joined
    assert run(["eval", "nowhere", "--mesh", "data=2", "--out", "nowhere"]) == 2 and joined == ["auto"]
    assert capsys.readouterr().err.endswith("soo: error: no\n")


def test_a_cluster_is_known_by_what_it_tells():
    assert distributed.expected({"SLURM_PROCID": "0", "SLURM_NTASKS": "4"})
    assert not distributed.expected({"SLURM_PROCID": "0", "SLURM_NTASKS": "4", "SLURM_STEP_NUM_TASKS": "1"})
    assert not distributed.expected({"SLURM_NTASKS": "4"}), "a shell inside an allocation is no task of it"
    assert distributed.expected({"TPU_WORKER_HOSTNAMES": "a,b"}) and not distributed.expected({})
    assert not distributed.expected({"TPU_WORKER_HOSTNAMES": "localhost"})
