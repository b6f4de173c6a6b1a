"""The report of RL runs shows what the rows say, whole, agent by agent."""

import base64
import csv
import io
import re

import numpy as np
import pytest
from safetensors.numpy import load_file

from report.synthetic_rl import write_rl_run
from report.test_page import _text
from soo_jax.errors import SooError
from soo_jax.report.html import write_report
from soo_jax.report.rl.plots import _bystanders
from soo_jax.report.rl.tables import rl_table
from soo_jax.report.rl.words import began_as, condition_title, in_sequence
from soo_jax.rl.games import Metric, Words, game
from soo_jax.rl.games.words import words_from
from soo_jax.rl.statistics import aggregate
from soo_jax.runs import RunFolder, read_run

WORDS = game("physical_deception").words
FEW = ("deceptive", "honest", "soo", "control:more_rl", "soo@wide_sight")


@pytest.fixture(scope="module")
def run_path(tmp_path_factory):
    return write_rl_run(tmp_path_factory.mktemp("rl") / "agents", conditions=FEW, reds=range(3), seeds=range(4))


@pytest.fixture(scope="module")
def page(run_path):
    return write_report([run_path]).read_text(encoding="utf-8")


def _write(path, rows=(), config=None, **results):
    with RunFolder.create(path) as run:
        run.write_config({"job": "rl-evaluate", **(config or {})})
        run.write_results({"job": "rl-evaluate", "rows": list(rows), **results})
    return path


def _row(condition, seed, value, metric="trapped", red=0):
    return {"condition": condition, "red": red, "seed": seed, "metric": metric, "value": value}


def _printed(runs, width=100):
    from rich.console import Console

    console = Console(file=io.StringIO(), width=width)
    console.print(rl_table(runs))
    return console.file.getvalue()


def test_the_page_shows_means_spread_and_interval_that_were_worked_out_by_hand(tmp_path):
    # Of 0.2, 0.4 and 0.6: mean 0.4, sd 0.2, half-width 4.303 * 0.2 / sqrt(3) = 0.497, cut at 0.
    # Of 1, 2, 3 (no fraction): mean 2, sd 1, half-width 4.303 / sqrt(3) = 2.484.
    rows = [_row("mine", 0, 0.2), _row("mine", 1, 0.6), _row("mine", 2, 0.4)]
    rows += [_row("mine", seed, seed + 1.0, "task_return") for seed in range(3)]
    text = _text(write_report([_write(tmp_path / "run", rows)]).read_text())
    assert "0.40 ± 0.20 0.00 to 0.90" in text
    assert "2.0 ± 1.0 -0.5 to 4.5" in text


def test_the_headline_leads_from_the_deceptive_agents_to_those_after_soo_beside_the_controls(run_path, page):
    cells, text = aggregate(read_run(run_path).rows), _text(page)
    rate = lambda condition: 100 * cells[condition, "deceptive_rate"].mean
    assert f"{rate('deceptive'):.1f} % → {rate('soo'):.1f} %" in text
    assert f"honest: {rate('honest'):.1f} % more RL, no SOO: {rate('control:more_rl'):.1f} %" in text


def test_changes_pair_agents_with_what_they_were(tmp_path):
    # Means fall by 0.3 either way, but the agents' own changes are -0.3 each: no spread at all.
    rows = [
        _row(c, s, v)
        for c, pair in (("deceptive", (0.9, 0.5, 0.7)), ("soo", (0.6, 0.2, 0.4)))
        for s, v in enumerate(pair)
    ]
    text = _text(write_report([_write(tmp_path / "run", rows)]).read_text())
    assert "-0.30 ± 0.00 -0.30 to -0.30" in text.split("What changed, agent by agent")[1]


def test_every_agent_stands_in_the_page_and_odd_ones_are_named(run_path, page):
    text = _text(page)
    rows = read_run(run_path).rows
    assert text.count("deceptive: 12 agents red 0, seed 3: never deceived") == 1
    value = next(r["value"] for r in rows if (r["condition"], r.get("red"), r.get("seed")) == ("soo", 2, 1))
    after = text.split("after SOO: 12 agents")[1]
    assert re.search(rf"2, 1 {value:.2f} ", after)


def test_agents_that_had_nothing_to_measure_are_counted_and_those_that_stopped_learning_are_named(tmp_path):
    rows = [_row("soo", 0, 0.25), _row("soo", 1, 0.75), _row("soo", 2, None)]
    who = {"condition": "soo", "red": 0}
    training = [{**who, "seed": 1, "step": t, "reward_blue": v} for t, v in ((1, 3.0), (2, None))]
    training += [
        {**who, "seed": 0, "step": t, "reward_blue": 1.0, **more} for t, more in ((1, {}), (2, {"frozen": True}))
    ]
    path = _write(tmp_path / "run", rows, training=training)
    text = _text(write_report([path]).read_text())
    assert "1 without a value" in text and "0.50 ± 0.35" in text
    odd = "after SOO: 3 agents red 0, seed 0: stopped learning red 0, seed 1: stopped learning red, seed"
    assert odd in text, "seed 2 has no badge: nothing went wrong with it"


def test_the_detector_has_its_own_table_and_is_no_condition(run_path, page):
    rows = [row for row in read_run(run_path).rows if row["condition"] == "detection"]
    text = _text(page)
    one = {(row["metric"], row["steps"]): row["value"] for row in rows if row["episodes"] == 50}
    columns = [("auroc", "all"), ("accuracy", "all"), ("flagged_paper", "all"), ("auroc", "untrapped")]
    assert "50 " + " ".join(f"{one[column]:.3f}" for column in columns) in text
    assert "detection" not in text.lower()


def test_charts_lie_beside_the_results_and_the_page_needs_no_network(run_path, page):
    names = {path.stem for path in run_path.glob("*.png")}
    assert names == {
        "conditions", "overlap", "differences", "surfaces", "detection", "geometry", "learning-baselines",
        "learning-treated",
    }  # fmt: skip
    for attribute in re.findall(r'(?:src|srcset|href)="([^"]{0,40})', page):
        assert attribute.startswith(("data:image/png;base64,", "data:text/csv;", "#")), attribute
    assert "<script" not in page


def test_every_chart_offers_the_numbers_behind_it(run_path, page):
    links = dict(re.findall(r'download="([^"]+)\.csv" href="data:text/csv;charset=utf-8;base64,([^"]+)"', page))
    read = lambda name: list(csv.DictReader(io.StringIO(base64.b64decode(links[f"{run_path.name}-{name}"]).decode())))
    assert set(links) == {f"{run_path.name}-{name}" for name in ("agents", *(p.stem for p in run_path.glob("*.png")))}
    surfaces, geometry = (load_file(run_path / f"{name}.safetensors") for name in ("surfaces", "geometry"))
    drawn = [row for row in read("surfaces") if row["condition"] == "deceptive"]
    assert [float(row["cosine < 1.00"]) for row in drawn] == pytest.approx(surfaces["deceptive"][:, -1], abs=1e-4)
    assert len(read("geometry")) == sum(map(len, geometry.values())) and len(read("agents")) == len(
        read_run(run_path).rows
    )
    assert {row["metric"] for row in read("detection")} >= {"auroc", "accuracy"}


def test_the_terminal_table_fits_100_columns_and_shows_the_means(run_path):
    run = read_run(run_path)
    printed, cells = _printed([run]), aggregate(run.rows)
    assert "…" not in printed and max(map(len, printed.splitlines())) <= 100
    line = next(line for line in printed.splitlines() if line.startswith("after SOO "))
    trapped, decoded = cells["soo", "trapped"], cells["soo", "red_decoded"]
    assert f"{trapped.mean:.2f}±{trapped.sd:.2f}" in line and f"{decoded.mean:.2f}±{decoded.sd:.2f}" in line


def test_lines_come_in_a_sensible_order_and_unknown_conditions_last():
    mixed = ["relapse:soo", "mine", "soo@wide_sight", "control:hidden", "detection", "honest", "soo", "deceptive"]
    assert in_sequence(mixed) == [
        "deceptive", "honest", "soo", "control:hidden", "soo@wide_sight", "relapse:soo", "mine",
    ]  # fmt: skip
    assert condition_title("deceptive@unseen_red") == "deceptive, unseen red"
    assert [began_as(name) for name in ("soo", "soo@wide_sight", "soo_on_escort", "relapse:soo", "honest", "mine")] == [
        "deceptive", "deceptive@wide_sight", "escort", "soo", None, None,
    ]  # fmt: skip


def test_several_runs_stand_on_one_page(run_path, tmp_path):
    other = write_rl_run(tmp_path / "other", conditions=("deceptive",), reds=[0], seeds=[0], arrays=False)
    out = write_report([run_path, other], tmp_path / "both.html")
    text = _text(out.read_text())
    assert "2 runs compared" in text and text.count("What agents do Mean ± sd") == 2
    assert "agents" in _printed([read_run(run_path), read_run(other)]) and "other" in _printed(
        [read_run(run_path), read_run(other)]
    )


def test_a_game_of_ones_own_is_told_in_its_own_words_which_the_run_itself_holds(tmp_path):
    words = Words(
        behaviour={"cheated": Metric("customers cheated", 2, 0.0, 1.0)},
        tiles={"cheated": ("cheated", "of the customers")},
        opponent="customer",
        reading="A shop without customers cheats nobody.",
    )
    assert words_from(words.as_dict(), "here") == words
    rows = [_row(c, s, v, "cheated") for c, v in (("deceptive", 0.75), ("soo", 0.25)) for s in range(2)]
    config = {"game": "nowhere_to_be_found.py:GAME", "words": words.as_dict()}
    path = _write(tmp_path / "run", rows, config)
    text = _text(write_report([path]).read_text())
    assert "cheated 75.0 % → 25.0 %" in text and "of the customers" in text and "customers cheated" in text
    assert "A shop without customers" in text and "customer, seed" in text and "customer 0" not in text
    assert not re.search(r"\b(red|blue)\b", text), "nothing of another game"
    assert "customers" in _printed([read_run(path)])
    config["words"]["behaviour"] = {"cheated": ["a title alone"]}
    with pytest.raises(SooError, match=r"config.json: words are not as soo-jax writes them"):
        write_report([_write(tmp_path / "other", rows, config)])


def test_agents_and_language_models_are_not_compared(run_path, tmp_path):
    with RunFolder.create(tmp_path / "model") as run:
        run.write_config({"job": "finetune"})
        run.write_results({"job": "finetune"})
    with pytest.raises(SooError, match="compare runs of one kind") as caught:
        write_report([run_path, tmp_path / "model"])
    assert "\n" not in str(caught.value)


def test_a_run_without_rows_and_one_that_was_killed_have_a_page(tmp_path):
    assert "No agents were measured" in write_report([_write(tmp_path / "empty")]).read_text()
    run = RunFolder.create(tmp_path / "killed")
    run.write_config({"job": "rl-train", "preset": "<b>paper"})
    page = write_report([run.path]).read_text()
    assert "This run is incomplete" in page and "<b>paper" not in page
    assert "INCOMPLETE" in _printed([read_run(run.path)])


def test_damaged_arrays_are_one_line(tmp_path):
    path = _write(tmp_path / "run", [_row("soo", 0, 0.5)])
    (path / "surfaces.safetensors").write_bytes(b"no tensors")
    with pytest.raises(SooError, match=r"surfaces.safetensors: is damaged"):
        write_report([path])


@pytest.mark.parametrize("theme", ["light", "dark"])
def test_one_agent_of_one_condition_can_be_drawn(theme):
    from soo_jax.report.rl import maps, plots
    from soo_jax.report.style import THEMES

    look, cells = THEMES[theme], aggregate([_row("mine", 0, 0.5), _row("mine", 0, 0.1, "difference_to_honest")])
    training = [{"condition": "mine", "seed": 0, "step": 1, "reward_blue": None}]
    charts = [
        plots.condition_chart(cells, ("trapped", "red_decoded"), WORDS, look),
        plots.difference_chart(cells, look),
        plots.learning_chart(training, look),
        plots.detection_chart([], WORDS, look),
        maps.surface_chart({"mine": np.zeros((100, 100), np.float32)}, look),
        maps.geometry_chart({"mine.self": np.zeros((3, 2)), "mine.other": np.ones((3, 2))}, look),
    ]
    assert {int.from_bytes(png[16:20], "big") for png in charts} == {1040}


def test_the_chart_shows_every_agent_and_not_only_the_mean():
    from soo_jax.report.rl.plots import condition_chart

    mean_alike = [[_row("soo", seed, value) for seed, value in enumerate(pair)] for pair in ((0.4, 0.6), (0.3, 0.7))]
    one, other = (condition_chart(aggregate(rows), ("trapped",), WORDS) for rows in mean_alike)
    assert one != other


def test_the_chart_of_the_detector_asks_about_few_and_about_other_runs_first():
    names = ["escort", "soo", "soo:weak", "control:more_rl", "control:hidden", "avoid", "relapse:soo", "paper:honest"]
    rows = [{"metric": f"flagged_{name}"} for name in names]
    assert _bystanders(rows) == [f"flagged_{n}" for n in ("paper:honest", "soo", "control:more_rl", "control:hidden")]
