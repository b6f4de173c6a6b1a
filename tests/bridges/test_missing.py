"""Without its extra a bridge says which one is missing."""

import sys


def test_a_log_cannot_be_read_without_inspect_ai(refused, monkeypatch, tmp_path):
    monkeypatch.setitem(sys.modules, "inspect_ai.log", None)
    (tmp_path / "a.eval").write_bytes(b"")
    assert "pip install 'soo-jax[inspect]'" in refused("import-inspect", tmp_path / "a.eval")
