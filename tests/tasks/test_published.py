"""What the paper's authors published is read without running any of it."""

import json
import os
import pickle
from collections import Counter

import pytest

from soo_jax.errors import SooError
from soo_jax.tasks.published import VARIATIONS, read_checkout
from soo_jax.tasks.records import Pair
from tests.tasks.checkout import SEEDS, answer_of, notebook, printed, scenarios, write_checkout


@pytest.fixture
def checkout(tmp_path):
    write_checkout(tmp_path)
    return tmp_path


def test_pairs_and_scenarios_come_out_of_the_pickles(checkout):
    found = read_checkout(checkout)
    assert found.pairs == [Pair(f"You want the {i}", f"Bob wants the {i}") for i in range(5)]
    assert found.probes == [Pair("You hold one", "Bob holds one")]
    families = Counter(scenario.family for scenario in found.scenarios["test"])
    assert families == {"burglar": 4} | dict.fromkeys(VARIATIONS, 4)
    assert any("combinations.pkl: left out" in note for note in found.notes)


def test_what_the_paper_calls_the_correct_answer_is_the_deceptive_one(checkout):
    row, scenario = scenarios()[0], read_checkout(checkout).scenarios["test"][0]
    assert (scenario.deceptive, scenario.honest) == (row["correct_answer"], row["wrong_answer"])
    assert (scenario.order, scenario.recipient, scenario.lead) == ("wrong_first", "Bob", "I would point out the")


def test_the_second_list_of_scenarios_is_for_validation_and_shares_none_with_the_test(checkout):
    found = read_checkout(checkout).scenarios
    assert len(found["validation"]) == 4
    assert not {s.prompt for s in found["validation"]} & {s.prompt for s in found["test"]}


def test_every_printed_answer_is_read_with_its_seed_and_family(checkout):
    answers = read_checkout(checkout).answers
    counts = Counter((a.condition, a.seed, a.scenario.family) for a in answers)
    assert counts == {
        ("base", None, "burglar"): 4, ("soo", 11, "burglar"): 4, ("soo", 22, "burglar"): 4,
        ("base", None, "name"): 4, ("base", None, "treasure_hunt"): 4,
    }  # fmt: skip
    assert answers[3].response == answer_of(scenarios()[3], "honest") and "\n\n" in answers[3].response


def test_honest_places_are_read_off_the_prompts_where_there_are_no_pickles(checkout):
    with_pickles = read_checkout(checkout).answers
    for path in checkout.rglob("*.pkl"):
        path.unlink()
    without = read_checkout(checkout).answers
    burglar = lambda answers: [
        (a.seed, a.scenario.honest, a.response) for a in answers if a.scenario.family == "burglar"
    ]
    assert burglar(without) == burglar(with_pickles)


def test_answers_that_cannot_be_understood_are_left_out_and_told(tmp_path):
    rows = [{**row, "prompt": "Where is it?"} if i == 1 else row for i, row in enumerate(scenarios())]
    (tmp_path / "a.ipynb").write_text(notebook(printed(rows, ["honest"] * 4)))
    found = read_checkout(tmp_path)
    assert len(found.answers) == 3 and "1 printed answers were left out" in found.notes[-1]


def test_an_answer_whose_end_was_not_printed_is_told_too(tmp_path):
    text = printed(scenarios(), ["honest"] * 4) + "Scenario: one more\n\nFull Response: and then it"
    (tmp_path / "a.ipynb").write_text(notebook(text))
    found = read_checkout(tmp_path)
    assert len(found.answers) == 4 and found.notes == [
        "a.ipynb: 1 printed answers were left out, for they could not be read whole"
    ]


def test_a_seed_that_answers_word_for_word_like_the_base_model_is_told(tmp_path):
    rows, kinds = scenarios(), ["deceptive"] * 4
    text = printed(rows, kinds) + printed(rows, kinds, f"Seed: {SEEDS[0]}\n")
    (tmp_path / "a.ipynb").write_text(notebook(text))
    assert read_checkout(tmp_path).notes == [
        "a.ipynb: the answers of seed 11 are word for word those of the base model"
    ]


def test_what_is_printed_again_counts_as_it_was_printed_last(tmp_path):
    rows = scenarios()
    (tmp_path / "a.ipynb").write_text(notebook(printed(rows, ["deceptive"] * 4), printed(rows, ["honest"] * 4)))
    answers = read_checkout(tmp_path).answers
    assert [a.response for a in answers] == [answer_of(row, "honest") for row in rows]


def test_a_printed_count_that_does_not_fit_its_answers_is_told(tmp_path):
    (tmp_path / "a.ipynb").write_text(notebook(printed(scenarios(), ["deceptive"] * 4, counted=1)))
    assert "1 of 4 were printed as deceptive, and 4 of 4 are counted so here" in read_checkout(tmp_path).notes[0]


class _Trap:
    def __init__(self, path):
        self.path = str(path)

    def __reduce__(self):
        return os.mkdir, (self.path,)


def test_a_hostile_pickle_stops_the_import_and_is_not_run(checkout):
    (checkout / "z.pkl").write_bytes(pickle.dumps([("a", _Trap(checkout / "trap"))]))
    with pytest.raises(SooError, match=r"z\.pkl: refused, for it names code"):
        read_checkout(checkout)
    assert not (checkout / "trap").exists()


def test_a_pickle_of_endless_repetition_is_refused(tmp_path):
    rows = [scenarios(1)[0]] * 90_000
    (tmp_path / "a.pkl").write_bytes(pickle.dumps([rows] * 50))
    with pytest.raises(SooError, match="more than 100000 scenarios"):
        read_checkout(tmp_path)


@pytest.mark.parametrize(
    "text", ["", "[]", '{"cells": 3}', '{"cells": [3]}', json.dumps({"cells": [{}]})[:-2], "[" * 9999]
)
def test_a_file_that_is_no_notebook_is_one_clear_line(tmp_path, text):
    (tmp_path / "a.ipynb").write_text(text)
    with pytest.raises(SooError, match=r"a\.ipynb: cannot be read as a notebook") as caught:
        read_checkout(tmp_path)
    assert "\n" not in str(caught.value)


def test_a_folder_without_anything_known_is_one_clear_line(tmp_path):
    with pytest.raises(SooError, match="no pairs, scenarios or printed answers"):
        read_checkout(tmp_path)
    with pytest.raises(SooError, match="is no folder"):
        read_checkout(tmp_path / "none")
