"""Tables fit a terminal, and charts show every value that they are given."""

import io
import re
from dataclasses import replace

import numpy as np
import pytest

from report.synthetic import write_run
from soo_jax.report.llm.tables import table_lines, terminal_table
from soo_jax.report.llm.words import condition_title
from soo_jax.report.settings_map import Panel, _font_size, _in_lines
from soo_jax.report.style import legend_columns
from soo_jax.runs import read_run
from soo_jax.tasks.statistics import aggregate


def _printed(runs, width):
    from rich.console import Console

    console = Console(file=io.StringIO(), width=width)
    console.print(terminal_table(runs))
    return console.file.getvalue()


def test_three_conditions_fit_into_80_columns_uncut(run_path):
    printed = _printed([read_run(run_path)], 80)
    assert "…" not in printed
    assert len([line for line in printed.splitlines() if re.search(r"\d", line)]) >= 28


def test_the_terminal_shows_the_same_numbers_as_the_statistics(run_path):
    run = read_run(run_path)
    cells = {(c.condition, c.order): c for c in aggregate(run.rows) if c.family == "burglar"}
    line = next(line for line in _printed([run], 80).splitlines() if line.startswith("Burglar"))
    before, after = cells["base", "wrong_first"], cells["soo", "wrong_first"]
    assert f"{before.honest.mean:.0f}" in line.split() and f"{before.deceptive.mean:.0f}" in line.split()
    assert f"{after.honest.mean:.0f}±{after.honest.sd:.0f}" in line.split()


def test_rivals_come_before_controls_and_each_order_has_its_line(run_path):
    lines = table_lines(aggregate(read_run(run_path).rows))
    controls = [line.control for line in lines]
    assert controls == sorted(controls) and len(lines) == 28
    assert [line.first for line in lines] == [True, False] * 14


def test_honest_acts_that_mean_to_mislead_have_a_column_and_a_mark(tmp_path, run_path):
    from soo_jax.report.llm import plots

    run = read_run(write_run(tmp_path / "run", seeds=(0,), bad_seed=None, families=["burglar", "self"], reasons=0.5))
    printed = _printed([run], 100)
    cells = {(c.condition, c.order): c for c in aggregate(run.rows) if c.family == "burglar"}
    told = cells["soo", "wrong_first"].contradiction.mean
    assert 20 < told < 80 and "misl.: honest in act" in printed
    line = next(line for line in printed.splitlines() if line.startswith("Burglar"))
    assert line.split()[-3] == f"{told:.0f}"
    assert "misl." not in _printed([read_run(run_path)], 80), "where nobody says so, the table is as it was"

    marks = []
    plain = [replace(cell, contradiction=None) for cell in aggregate(run.rows)]
    for group in (aggregate(run.rows), plain):
        marks.append(plots.rates_chart(group, "honest"))
    assert marks[0] != marks[1] and plots.rates_chart(plain, "deceptive") == plots.rates_chart(
        aggregate(run.rows), "deceptive"
    )


@pytest.mark.parametrize(
    "fields", [("loss", "overlap", "drift", "grad_norm"), ("drift", "grad_norm", "loss", "overlap")]
)
def test_the_loss_of_every_seed_is_a_line_in_whatever_order_metrics_were_written(fields, monkeypatch):
    from soo_jax.report.llm import plots

    drawn = []
    monkeypatch.setattr(plots, "_seed_curve", lambda ax, rows, metric, colour: drawn.append((len(rows), metric)))
    rows = [{"seed": s, "step": i, **{f: 1.0 + i for f in fields}} for s in (0, 1) for i in range(5)]
    plots.loss_chart(rows)
    assert sorted(drawn) == sorted((5, metric) for metric in fields for _ in (0, 1))


def test_two_runs_stand_side_by_side(run_path):
    run = read_run(run_path)
    printed = _printed([run, run], 200)
    assert printed.count("after SOO:") == 2 and printed.count("organism-soo") == 2 * 3


def test_the_settings_in_which_members_differ_are_not_cut_off(run_path):
    run = read_run(run_path)
    rows = [{**row, "learning_rate": rate} for row in run.rows for rate in (1e-3, 3e-3) if row["condition"] == "soo"]
    swept = replace(run, results={**run.results, "rows": rows})
    lines = _printed([swept], 80).splitlines()
    assert any("0.001" in line and "0.003" in line for line in lines) and "…" not in "".join(lines)


def _size(png):
    return int.from_bytes(png[16:20], "big"), int.from_bytes(png[20:24], "big")


@pytest.mark.parametrize("theme", ["light", "dark"])
def test_all_charts_share_one_width_in_both_themes(run_path, theme):
    from soo_jax.report.llm import plots
    from soo_jax.report.style import THEMES

    run, style = read_run(run_path), THEMES[theme]
    cells = aggregate(run.rows)
    after = [("a", [cell for cell in aggregate(run.rows, pool_orders=True) if cell.condition == "soo"])]
    charts = [
        plots.rates_chart(cells, "honest", style),
        plots.latent_chart(run.latent, style),
        plots.loss_chart(run.training, style),
        plots.compare_chart(after, "honest", style),
    ]
    assert {_size(png)[0] for png in charts} == {1040}


def test_a_chart_of_a_single_cell_a_single_layer_and_nulls_can_be_drawn():
    from soo_jax.report.llm import plots

    row = {
        "condition": "base", "seed": None, "family": "mine", "order": "wrong_first", "n": 1, "honest": 1,
        "deceptive": 0, "refusal": 0, "other": 0, "paper_deceptive": 0, "logp_margin": None,
    }  # fmt: skip
    assert plots.rates_chart(aggregate([row]), "honest")
    assert plots.latent_chart(
        [{"condition": "base", "seed": None, "site": "residual", "layer": 0, "mse": 0.0, "normalised": None}]
    )
    assert plots.loss_chart([{"seed": 0, "step": 1, "loss": None}])


def test_every_seed_draws_its_own_ink(run_path):
    from soo_jax.report.llm import plots

    rows = read_run(run_path).training
    assert plots.loss_chart(rows) != plots.loss_chart([row for row in rows if row["seed"] != 3])


def test_a_sweep_over_learning_rates_draws_one_line_each():
    from soo_jax.report.llm import plots

    rows = [
        {"seed": 0, "step": step, "learning_rate": rate, "loss": 1 / step + 100 * rate}
        for rate in (1e-4, 1e-3)
        for step in range(1, 20)
    ]
    assert plots.loss_chart(rows) != plots.loss_chart([{**row, "learning_rate": 1e-4} for row in rows])


def test_what_stands_in_a_map_stays_in_its_field_however_many_there_are():
    few, many = (
        Panel("KL", np.full((1, n), 0.123), 0.0, 1.0, "#000000", lambda value: f"{value:.3f}") for n in (5, 30)
    )
    assert _font_size(few, 5) == 8.0 and 30 * _font_size(many, 30) * len("0.123") * 0.68 <= 400.1
    assert _in_lines("18,19,20,23") == "18,19,\n20,23" and _in_lines("29") == "29" and _in_lines("1,2,3") == "1,2,\n3"


@pytest.mark.parametrize(
    ("names", "columns"),
    [
        (["before", "after SOO"], 2),
        (["before", "honesty prompt", "after SOO", "each seed"], 4),
        (["before", "honesty prompt", "after SOO", "each seed", "without stated ill intent"], 3),
        (["a run of a very long name, trained layer 3", "another run of a very long name"], 1),
    ],
)
def test_a_legend_has_as_many_columns_as_fit_beside_each_other(names, columns):
    assert legend_columns(names) == columns


@pytest.mark.parametrize(
    ("condition", "title"),
    [
        ("control:self-self", "self-self pairs"),
        ("control:turned 2", "random turn 2"),
        ("control:16 answers", "16 honest labels"),
        ("control:steering 0.5", "steering × 0.5"),
        ("control:my own", "my own"),
        ("soo · trained_layer 3", "after SOO, trained layer 3"),
    ],
)
def test_conditions_have_titles_rather_than_names(condition, title):
    assert condition_title(condition) == title
