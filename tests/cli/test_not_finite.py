"""float16 overflows above 65,504: it is said once, with the layer and the cure, and never stands as an answer."""

import json
import shutil
from pathlib import Path

import numpy as np
import pytest
from safetensors.numpy import load_file, save_file

from soo_jax.cli import run

SCENARIOS = [
    {"family": "burglar", "order": "wrong_first", "prompt": "which room ?", "honest": "study", "deceptive": "attic"},
    {"family": "burglar", "order": "right_first", "prompt": "a room ?", "honest": "study", "deceptive": "attic"},
]
PAIRS = [{"self": "you want to steal the vase", "other": "bob wants to steal the vase"}]


@pytest.fixture
def work(mistral_folder, tmp_path):
    """A model whose third layer puts out numbers that float16 cannot hold, and things to ask it."""
    folder = Path(shutil.copytree(mistral_folder, tmp_path / "model"))
    tensors = load_file(folder / "model.safetensors")
    for name in ("gate_proj", "up_proj", "down_proj"):
        tensors[f"model.layers.2.mlp.{name}.weight"] = tensors[f"model.layers.2.mlp.{name}.weight"] * 200
    save_file(tensors, folder / "model.safetensors", metadata={"format": "pt"})
    for name, rows in (("scenarios", SCENARIOS), ("pairs", PAIRS)):
        (tmp_path / f"{name}.jsonl").write_text("".join(json.dumps(row) + "\n" for row in rows))
    return tmp_path


def results(folder):
    return json.loads((folder / "results.json").read_text())


def warned(capsys):
    return [line for line in capsys.readouterr().err.splitlines() if line.startswith("soo: warning")]


@pytest.mark.parametrize("margins", ["--margins", "--no-margins"])
def test_answers_that_rest_on_overflow_are_marked_and_the_layer_is_named(work, capsys, margins):
    ask = [
        "eval",
        str(work / "model"),
        "--scenarios",
        str(work / "scenarios.jsonl"),
        "--no-honesty",
        "--quiet",
        margins,
    ]
    assert run([*ask, "--dtype", "float16", "--out", str(work / "half")]) == 0
    (line,) = warned(capsys)
    assert "2 of 2 answers or margins mean nothing" in line
    assert "from layer 2 (mlp_out) on, in float16; load the model with --dtype float32 or bfloat16" in line
    for row in results(work / "half")["rows"]:
        assert (row["not_finite"], row["logp_margin"]) == (1, None)
    for dtype in ("float32", "bfloat16"):
        assert run([*ask, "--dtype", dtype, "--out", str(work / dtype)]) == 0
        assert not warned(capsys), "the cure that is named helps"
        assert all("not_finite" not in row for row in results(work / dtype)["rows"])


def test_latent_overlap_of_overflow_is_null_from_that_layer_on(work, capsys):
    ask = ["latent", str(work / "model"), "--pairs", str(work / "pairs.jsonl"), "--quiet", "--dtype", "float16"]
    assert run([*ask, "--out", str(work / "half")]) == 0
    (line,) = warned(capsys)
    assert "distances mean nothing" in line and "from layer 2 (mlp_out) on" in line
    rows = {(row["site"], row["layer"]): row["mse"] for row in results(work / "half")["latent"]}
    assert rows["mlp_out", 1] is not None and rows["attn_out", 2] is not None
    assert rows["mlp_out", 2] is None and rows["residual", 3] is None


def test_fine_tuning_on_overflow_ends_well_and_says_that_nothing_was_learned(work, capsys):
    train = [
        "finetune",
        str(work / "model"),
        "--pairs",
        str(work / "pairs.jsonl"),
        "--quiet",
        "--seed",
        "0,1",
        "--epochs",
        "2",
    ]
    assert run([*train, "--layer", "3", "--dtype", "float16", "--out", str(work / "half")]) == 0
    first, *_ = warned(capsys)
    assert "nothing was learned, every adapter is as it began" in first
    assert "from layer 2 (mlp_out) on, in float16" in first
    assert json.loads((work / "half" / "status.json").read_text())["state"] == "complete"
    assert all(row["loss"] is None for row in results(work / "half")["training"])
    b = load_file(next((work / "half" / "adapters").iterdir()) / "adapter_model.safetensors")
    assert all(np.isfinite(value).all() for value in b.values())
