"""``soo layers`` as a user calls it."""

import json

from tests.test_docs import needs_organism


@needs_organism
def test_layers_are_told_in_a_table_a_chart_and_words(soo, tmp_path):
    out = tmp_path / "out"
    done = soo("layers", "organism", "--scenes", 8, "--out", out, "--quiet")
    assert done.code == 0 and "Layer 1 is the last whose attention decides" in done.out and "attention" in done.out
    rows = json.loads((out / "results.json").read_text())["layers"]
    assert len(rows) == 5 and rows[1]["patch_attention"] == 1.0
    assert (out / "layers.png").is_file() and "What to train" in (out / "report.html").read_text()


def test_a_pack_without_contrasts_is_one_clear_line(refused, tmp_path):
    (tmp_path / "pack").mkdir()
    (tmp_path / "pack" / "pack.json").write_text("{}")
    line = '{"family": "a", "order": "wrong_first", "prompt": "Where ?", "honest": "study", "deceptive": "kitchen"}\n'
    (tmp_path / "pack" / "test.jsonl").write_text(line)
    assert "contrasts.jsonl" in refused("layers", "organism", "--tasks", tmp_path / "pack")


def test_no_scenes_are_one_clear_line(refused):
    assert "scenes must be at least 1, found 0" in refused("layers", "organism", "--scenes", 0)
