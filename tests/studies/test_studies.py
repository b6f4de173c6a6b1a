"""Commands of studies are ones that the program has, and their shared tables say what was counted."""

import json
from dataclasses import asdict

import pytest

from scripts.studies import tables
from scripts.studies.dose.__main__ import RUNS as DOSE
from scripts.studies.dose.page import _named
from scripts.studies.paper_preset.page import RUNS as PAPER
from scripts.studies.physical_deception.__main__ import RUNS as AGENTS
from scripts.studies.physical_deception.tables import level
from scripts.studies.quantised.__main__ import PAGE as QUANTISED
from scripts.studies.quantised.page import page
from scripts.studies.quantised.subjects import SUBJECTS
from scripts.studies.real_models import layers_page
from scripts.studies.real_models.subjects import SUBJECTS as REAL
from soo_jax.errors import SooError
from soo_jax.llm.layers import Diagnosis
from soo_jax.rl.games import Metric
from soo_jax.rl.statistics import Summary
from soo_jax.runs import RunFolder, read_run


@pytest.mark.parametrize("words", [*DOSE.values(), *PAPER.values(), *AGENTS.values()])
def test_every_command_of_a_study_of_agents_is_one_that_the_program_takes(words):
    from typer.main import get_command

    from soo_jax.cli.app import app

    name, *rest = words.format(runs="runs").split()
    get_command(app).commands["rl"].commands[name].make_context(name, [*rest, "--out", "x"])


@pytest.mark.parametrize("model", SUBJECTS)
def test_every_command_of_the_study_of_quantised_weights_is_one_that_the_program_takes(model, tmp_path):
    from typer.main import get_command

    from soo_jax.cli.app import app

    subject, out = SUBJECTS[model], tmp_path / "quantised"
    (tmp_path / "real" / str(subject.taught) / "model").mkdir(parents=True)
    commands = [one for base in subject.bases for one in subject.runs(model, base, out)]
    for place, (name, *rest) in commands:
        get_command(app).commands[name].make_context(name, list(rest))
        assert rest[-2:] == ["--out", str(place)]
    assert {place for base in subject.bases for place in subject.places(model, base, out)} <= {
        place for place, _ in commands
    }


def test_an_organism_that_was_not_made_yet_is_named_with_the_command_that_makes_it(tmp_path):
    with pytest.raises(SooError, match=r"real_models teach .*real qwen05$"):
        next(SUBJECTS["qwen05-organism"].runs("qwen05-organism", "nf4", tmp_path / "quantised"))


def test_a_record_of_which_no_section_is_written_anew_stays_as_it_is(tmp_path):
    kept = QUANTISED.read_text(encoding="utf-8")
    assert page(tmp_path, SUBJECTS, [], kept) == kept
    with pytest.raises(SooError, match="qwen05-float32"):
        page(tmp_path, SUBJECTS, ["qwen05"], kept)


def test_shares_are_told_once_where_both_orders_agree():
    row = {"family": "a", "n": 4, "honest": 1, "deceptive": 2, "refusal": 1, "other": 0}
    rows = [row | {"order": "wrong_first"}, row | {"order": "right_first"}]
    assert tables.shares(rows, "a") == "25 / 50 / 25"
    assert tables.shares([rows[0], rows[1] | {"honest": 2, "refusal": 0}], "a") == "25 / 50 / 25 · 50 / 50 / 0"
    assert tables.shares(rows[:1], "a") == "–"


def test_an_interval_of_a_share_ends_where_shares_end():
    found = Summary(mean=0.73, sd=0.27, low=0.43, high=1.02, n=8, missing=0, reds=2, values=())
    assert level(found, Metric("red trapped", least=0.0, most=1.0)) == "0.73 ± 0.27 [0.43, 1.00]"
    assert level(found, Metric("return")) == "0.73 ± 0.27 [0.43, 1.02]"


def test_models_are_tuned_at_layers_by_number_or_as_a_diagnosis_advises(tmp_path):
    smollm2, gemma3 = REAL["smollm2"], REAL["gemma3"]
    assert smollm2.tuned(tmp_path)[-4:] == ("--layer", "18,19,20,23", "--adapter-layers", "18,19,20,23")
    assert smollm2.tuned(tmp_path, "19")[-4:] == ("--layer", "19", "--adapter-layers", "19")
    assert gemma3.tuned(tmp_path)[-3:] == ("--no-chat", "--layers-from", str(tmp_path / "layers"))


def test_the_layers_that_a_diagnosis_advises_are_marked_in_its_record(tmp_path):
    few, more = ({"layers": own, "restored": 0.5 + 0.2 * len(own), "right": 1.0, "rest": 0.31} for own in ([3], [3, 5]))
    row = {"layer": 3, "restored": 0.7, "broken": 0.1}
    _run(tmp_path / "layers", [])
    (tmp_path / "layers" / "cells").mkdir()
    found = Diagnosis([row], [few, more], 10, 1.0, 0.0, 1.0)
    (tmp_path / "layers" / "cells" / "layers.json").write_text(json.dumps(asdict(found)))
    read = layers_page.found_by(read_run(tmp_path / "layers"))
    assert read == found
    told = layers_page.together_table(read).splitlines()
    assert told[2:] == ["| 3 | 70 | 100 | 31 |", "| **3, 5** | 90 | 100 | 31 |"]
    assert layers_page.layers_table([row]).splitlines()[-1] == "| 3 | 0.70 | 0.10 |"


def test_margins_are_told_order_by_order():
    rows = [{"family": "a", "order": "wrong_first", "logp_margin": margin} for margin in (-1.0, 3.0)]
    rows += [{"family": "a", "order": "right_first", "logp_margin": margin} for margin in (-2.0, -2.0)]
    assert tables.margin_cells(rows, "a") == ["1.00 ± 2.83", "50 %", "-2.00 ± 0.00", "100 %"]


def _run(folder, rows):
    with RunFolder.create(folder) as run:
        run.write_config({"job": "eval"})
        run.write_results({"job": "eval", "rows": rows})
    return folder


def test_a_run_that_was_interrupted_is_no_figure(tmp_path):
    assert tables.complete(_run(tmp_path / "whole", [])).complete
    with pytest.raises(KeyboardInterrupt), RunFolder.create(tmp_path / "part") as run:
        run.write_config({"job": "eval"})
        raise KeyboardInterrupt
    with pytest.raises(SooError, match="its figures would be those of a part"):
        tables.complete(tmp_path / "part")


def test_agents_of_one_condition_of_a_run_are_told_under_the_studys_name(tmp_path):
    row = {"metric": "trapped", "value": 0.5, "red": 0, "seed": 0}
    rows = [row | {"condition": "soo"}, row | {"condition": "control:stop_self"}]
    path = _run(tmp_path / "run", rows)
    assert _named(path, "soo", "SOO, weight 1") == [row | {"condition": "SOO, weight 1"}]
