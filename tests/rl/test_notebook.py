"""The notebook of sweeps does what it says, cell by cell, with a sweep cut short."""

import json
from dataclasses import replace
from pathlib import Path

import pytest

NOTEBOOK = Path(__file__).parents[2] / "docs" / "sweep_sight.ipynb"
TINY = {"iterations": 2, "environments": 4, "steps": 10, "hidden": (8,), "minibatches": 2}


def cells():
    told = json.loads(NOTEBOOK.read_text(encoding="utf-8"))
    assert told["nbformat"] == 4
    return [one for one in told["cells"] if one["cell_type"] == "code"]


def cut_short(names):
    """What the cell of settings leaves, in small."""
    recipe = names["recipe"]
    parts = {name: getattr(recipe, name).replace(**TINY) for name in ("follower", "baseline", "finetune")}
    vary = {name: values[:2] for name, values in names["vary"].items()}
    names.update(recipe=replace(recipe, **parts), vary=vary, seeds=range(2), reds=1, episodes=4)


def test_every_cell_of_the_notebook_runs_and_its_table_has_every_agent(tmp_path, monkeypatch):
    pytest.importorskip("pandas")
    monkeypatch.chdir(tmp_path)
    monkeypatch.setenv("MPLBACKEND", "agg")
    names = {"__name__": "notebook"}
    for one in cells():
        exec(compile("".join(one["source"]), NOTEBOOK.name, "exec"), names)
        if "vary" in names and "frame" not in names:
            cut_short(names)
    table = names["table"]
    assert len(table[table.kind == "treated"]) == 2 * 2 * 2, "sights, weights, seeds"
    assert len(table[table.kind == "baseline"]) == 2 * 2 and table.trapped.between(0, 1).all()
    assert table[table.kind == "baseline"].soo_weight.isna().all()
    assert (tmp_path / "runs" / "sweep_sight" / "sight.png").read_bytes()[1:4] == b"PNG"


def test_the_notebook_is_stored_without_what_a_run_printed():
    assert all(not one["outputs"] and one["execution_count"] is None for one in cells())
