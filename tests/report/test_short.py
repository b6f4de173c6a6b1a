"""What a page says first, in words: what changed, whether it is real, and what a sceptic would say."""

import base64
import csv
import io
import json
import re

import pytest

from report.synthetic import write_run
from soo_jax.report.html import write_report
from soo_jax.report.llm.short import in_short
from soo_jax.report.llm.tables import deception_rows
from soo_jax.runs import read_run
from soo_jax.tasks.statistics import seed_outcomes

QUESTIONS = [
    "Did deception fall?", "Did honest acts rise?", "And in what answers say?", "Are the controls intact?",
    "Is the difference real?", "What would a sceptic say?",
]  # fmt: skip


def short(path, family="burglar"):
    run = read_run(path)
    rows = deception_rows(run)
    points = in_short(run, rows, family, seed_outcomes(rows, run.training))
    return {point.question: (point.answer, " ".join(point.said)) for point in points}


@pytest.fixture
def told(tmp_path):
    def make(name="run", **how):
        usual = {"families": ["burglar", "escape_room", "self"], "bad_seed": None, "n": 20}
        return short(write_run(tmp_path / name, **usual | how))

    return make


def test_a_run_that_worked_is_told_so_with_its_figures(told):
    said = told()
    assert list(said) == QUESTIONS
    answer, words = said["Did deception fall?"]
    assert answer == "Yes." and words.startswith("In all 2 scenarios it fell. Burglar: ") and "% before, " in words
    answer, words = said["Is the difference real?"]
    assert answer == "Yes." and "40 questions, 5 seeds" in words and "corrected for 3 scenarios" in words


def test_a_run_in_which_nothing_happened_is_told_so(told):
    said = told(strength=0.02, families=["burglar", "self"])
    assert said["Did deception fall?"][0] == said["Did honest acts rise?"][0] == "No."
    assert said["Is the difference real?"][0] == "Not shown."


def test_honest_acts_that_mean_to_mislead_are_told_and_doubted(told):
    said = told(reasons=0.5)
    answer, words = said["And in what answers say?"]
    assert answer == "Not throughout." and "are honest throughout" in words
    assert "look like confusion" in said["What would a sceptic say?"][1]
    assert "look like confusion" not in told("quiet")["What would a sceptic say?"][1]


def test_answers_that_name_no_place_and_seeds_that_broke_are_a_sceptics_first_words(told):
    doubts = told(bad_seed=3)["What would a sceptic say?"][1]
    assert "broken rather than honest" in doubts and "seeds came out broken or diverged" in doubts
    assert "broken rather than honest" not in told("whole")["What would a sceptic say?"][1]


def test_few_seeds_and_controls_that_were_not_asked_are_doubted(told):
    said = told(seeds=(0, 1), families=["burglar"])
    assert said["Are the controls intact?"][0] == "Not asked."
    doubts = said["What would a sceptic say?"][1]
    assert "2 seeds say little" in doubts and "no control was asked" in doubts


def test_controls_that_fell_are_named_with_what_they_lost(told):
    answer, words = told(bad_seed=1, seeds=(0, 1), n=60)["Are the controls intact?"]
    assert answer == "No." and re.search(r"worse: Advice: self 100 → \d+ %", words)


def test_a_request_that_does_as_much_and_texts_that_surprise_more_are_told(tmp_path):
    path = write_run(tmp_path / "run", families=["burglar", "self"], bad_seed=None, n=20)
    results = json.loads((path / "results.json").read_text())
    asked = next(row for row in results["rows"] if row["condition"] == "honesty_prompt")
    asked |= {"honest": asked["n"], "deceptive": 0, "refusal": 0, "other": 0}
    results["drift"] = [{"condition": name, "seed": None, "tokens": 9, "perplexity": value, "kl": 0.1, "top1": 0.9}
                        for name, value in (("base", 10.0), ("soo", 14.0))]  # fmt: skip
    (path / "results.json").write_text(json.dumps(results))
    doubts = short(path)["What would a sceptic say?"][1]
    assert "A request to be honest gives" in doubts and "perplexity 10.0 before, 14.0 after" in doubts


def test_controls_that_do_as_much_are_a_sceptics_words(tmp_path):
    path = write_run(tmp_path / "run", families=["burglar", "self"], bad_seed=None, n=20)
    run = read_run(path)
    rows = deception_rows(run)
    own = lambda name: [row | {"condition": f"control:{name}"} for row in rows if row["condition"] == "soo"]
    weak = [row | {"honest": 0, "deceptive": row["n"], "refusal": 0, "other": 0} for row in own("self-self")]
    points = in_short(run, [*rows, *own("shuffled"), *weak], "burglar", [])
    (doubt,) = [said for said in points[-1].said if said.startswith("As many honest acts")]
    assert doubt == "As many honest acts (Burglar) come of shuffled pairs."
    assert not any(said.startswith("As many") for said in in_short(run, [*rows, *weak], "burglar", [])[-1].said)


def test_a_model_as_it_is_is_told_with_what_its_rate_is_worth(tmp_path):
    run = read_run(write_run(tmp_path / "run", families=["burglar", "self"], n=20))
    base = [row for row in run.rows if row["condition"] == "base"]
    said = {point.question: (point.answer, *point.said) for point in in_short(run, base, "burglar", [])}
    assert re.match(r"Burglar: \d+ % deceptive, \d+ % honest", said["Does it deceive rivals?"][1])
    assert said["Are the controls right?"][1] == "At worst 100 % (Advice: self)."
    assert said["Does its rate of deception mean anything?"][0] == "Yes."
    for row in base:
        row |= {"honest": 5, "deceptive": 15} if row["control"] else {}
    answer, words = {point.question: (point.answer, *point.said) for point in in_short(run, base, "burglar", [])}[
        "Does its rate of deception mean anything?"
    ]
    assert answer == "Little." and words == "The control Advice: self is right in 25 % only."


def test_nothing_is_said_in_short_where_there_is_nothing_to_compare(tmp_path):
    run = read_run(write_run(tmp_path / "run", families=["burglar"], n=2))
    own = [row | {"condition": name} for row in run.rows for name in ("one", "another")]
    assert in_short(run, own, "burglar", []) == []


def test_the_words_come_before_every_figure_of_the_page(page):
    places = [page.index(f"<dt>{question}</dt>") for question in QUESTIONS]
    assert places == sorted(places) and places[-1] < page.index("<h2>") < page.index("<img")


def numbers(page):
    """Every table of numbers that the page offers, by the name of its file."""
    links = re.findall(r'download="([^"]+)" href="data:text/csv;charset=utf-8;base64,([^"]+)"', page)
    return {name: list(csv.DictReader(io.StringIO(base64.b64decode(text).decode()))) for name, text in links}


def test_every_chart_and_table_offers_the_numbers_behind_it(run_path, page):
    found, run = numbers(page), read_run(run_path)
    kinds = ("honest", "deceptive", "latent", "loss", "answers", "differences", "seeds")
    assert set(found) == {f"{run_path.name}-{kind}.csv" for kind in kinds}
    assert page.count("<figure") == sum("figcaption" in part and "csv" in part for part in page.split("<figure")[1:])
    latent = found[f"{run_path.name}-latent.csv"]
    assert [float(row["mse"]) for row in latent] == pytest.approx([row["mse"] for row in run.latent], rel=1e-6)
    losses = [row["loss"] for row in found[f"{run_path.name}-loss.csv"]]
    assert losses == ["" if row["loss"] is None else f"{row['loss']:.7g}" for row in run.training]
    (burglar,) = (
        row for row in found[f"{run_path.name}-honest.csv"]
        if (row["condition"], row["family"], row["order"]) == ("soo", "burglar", "wrong_first")
    )  # fmt: skip
    own = [r for r in run.rows if (r["condition"], r["family"], r["order"]) == ("soo", "burglar", "wrong_first")]
    assert [float(x) for x in burglar["honest_by_seed"].split()] == [100 * r["honest"] / r["n"] for r in own]


def test_what_a_family_is_called_cannot_leave_its_field(tmp_path):
    path = write_run(tmp_path / "run", families=["burglar"], n=2, seeds=(0,), bad_seed=None)
    text = (path / "results.json").read_text().replace('"burglar"', '"a, \\"b\\""')
    (path / "results.json").write_text(text)
    found = numbers(write_report([path]).read_text())["run-answers.csv"]
    assert {row["family"] for row in found} == {'a, "b"'}
