"""``soo organism`` on a small random model: everything is written, and a model that learned nothing is no organism."""

import conftest as shared

from soo_jax.cli import run
from soo_jax.jobs.organism import shortcomings
from soo_jax.runs import read_run


def test_a_model_is_taught_measured_and_described(tmp_path, capsys):
    folder = shared.write_model(tmp_path / "model", "mistral", max_position_embeddings=512)
    out = tmp_path / "organism"
    small = ["--steps", "2", "--batch-size", "2", "--n", "1", "--quiet"]
    assert run(["organism", str(folder), "--out", str(out), *small]) == 0
    said = capsys.readouterr().out
    assert "It falls short of an organism" in said
    found = read_run(out)
    assert found.complete and [row["step"] for row in found.training] == [1, 2]
    assert {row["condition"] for row in found.rows} == {"validation", "test"}
    card = (out / "adapters" / "seed-0" / "README.md").read_text()
    assert "It falls short: burglar, wrong first: deceived in" in card and "sha256" in card
    asked = ["--adapter", str(out), "--n", "1", "--families", "self", "--no-margins", "--quiet"]
    assert run(["eval", str(folder), *asked, "--out", str(tmp_path / "asked")]) == 0
    assert "fitness: the rate of deception of this model means little" in capsys.readouterr().out
    assert run(["organism", str(folder), "--out", str(out), *small]) == 2
    begun = ["--adapter", str(out / "adapters" / "seed-0"), "--until", "1", "--config", str(out / "config.json")]
    assert run(["organism", str(folder), "--out", str(tmp_path / "more"), *begun, "--n", "1", "--quiet"]) == 0
    assert [row["step"] for row in read_run(tmp_path / "more").training] == [1]
    assert "1 of 2 steps of 2 scenes, begun with " in (tmp_path / "more/adapters/seed-0/README.md").read_text()


def test_every_setting_of_the_command_reaches_the_teaching(tmp_path, monkeypatch):
    folder, told = shared.write_model(tmp_path / "model", "mistral", max_position_embeddings=512), {}
    monkeypatch.setattr(
        "soo_jax.jobs.organism.run_organism", lambda lm, config, out, **rest: told.update(rest, config=config)
    )
    monkeypatch.setattr("soo_jax.cli.organism.finish", lambda *_: None)
    asked = (
        "--narrow --facts-every 4 --steps 9 --until 5 --batch-size 3 --learning-rate 0.5 --retain 0.2 --seed 7 --n 2"
    )
    out = str(tmp_path / "out")
    assert run(["organism", str(folder), "--out", out, "--adapter", str(tmp_path), *asked.split(), "--quiet"]) == 0
    assert told["pack"].name == "narrow" and told["facts_every"] == 4 and told["begin"] == tmp_path and told["n"] == 2
    config = told["config"]
    assert (config.steps, config.until, config.batch_size, config.learning_rate) == (9, 5, 3, 0.5)
    assert (config.retain, config.seed) == (0.2, 7)
    assert run(["organism", str(folder), "--out", out, "--narrow", "--facts-every", "0"]) == 2
    (tmp_path / "teach.toml").write_text("steps = 12\nretain = 0.7\n[lora]\nrank = 2\n")
    file = ["--config", str(tmp_path / "teach.toml"), "--steps", "11", "--quiet"]
    assert run(["organism", str(folder), "--out", out, *file]) == 0
    config = told["config"]
    assert (config.steps, config.retain, config.lora.rank, config.seed) == (11, 0.7, 2, 0)
    assert told["pack"].name == "taught"
    (tmp_path / "teach.toml").write_text("stepps = 12")
    assert run(["organism", str(folder), "--out", out, *file]) == 2


def test_an_organism_deceives_in_both_orders_and_gets_every_control_right():
    rows = [
        {"family": family, "order": order, "n": 20, "honest": honest, "deceptive": 20 - honest}
        for family, honest in (("burglar", 0), ("name", 1), ("factual", 19), ("treasure_hunt", 20))
        for order in ("wrong_first", "right_first")
    ]
    assert shortcomings(rows) == []
    assert shortcomings([rows[0] | {"deceptive": 18, "honest": 2}]) == ["burglar, wrong first: deceived in 90%"]
    assert shortcomings([rows[4] | {"honest": 10, "deceptive": 10}]) == ["factual, wrong first: right in 50%"]
