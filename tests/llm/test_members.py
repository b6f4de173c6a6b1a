"""What sets stacked adapters apart stays with them: in files, in rows, in tables."""

import shutil
from dataclasses import replace

import numpy as np
import pytest

import soo_jax as soo
from soo_jax.errors import SooError
from soo_jax.tasks.statistics import aggregate, seed_outcomes

PAIRS = [soo.Pair(f"you want the {item}", f"bob wants the {item}") for item in ("vase", "lamp", "coin")]
SCENARIOS = [
    soo.Scenario("burglar", order, f"which room {order} ?", "study", "attic", lead="the")
    for order in ("wrong_first", "right_first")
]
FAST = soo.FinetuneConfig(layer=1, epochs=1, seeds=(276, 809), learning_rate=(1e-3, 1e-2), lora=soo.LoraConfig(rank=2))
ASK = soo.EvalConfig(max_new_tokens=2, margins=False)


@pytest.fixture(scope="module")
def trained(mistral):
    return soo.finetune(mistral, PAIRS, FAST)[0]


def test_a_seed_is_chosen_by_its_number_and_not_by_its_place(mistral, trained, tmp_path):
    soo.save_adapter(tmp_path, mistral, trained, seed=809, learning_rate=1e-2)
    loaded = soo.load_adapters(mistral, [tmp_path])
    assert (loaded.members[0].seed, loaded.members[0].get("learning_rate")) == (809, 1e-2)
    np.testing.assert_array_equal(loaded[0].a["q_proj"], trained[3].a["q_proj"])
    with pytest.raises(SooError, match=r"no adapter has seed 0; choose one of: seed 276, learning_rate 0\.001"):
        soo.save_adapter(tmp_path, mistral, trained, seed=0)
    with pytest.raises(SooError, match="2 adapters have seed 276"):
        soo.save_adapter(tmp_path, mistral, trained, seed=276)


def test_rows_tell_all_in_which_the_members_differ_and_only_that(mistral, trained):
    for rows in (
        soo.latent_overlap(mistral, PAIRS, adapters=trained, sites=("residual",)),
        soo.evaluate(mistral, SCENARIOS, ASK, adapters=trained).rows,
    ):
        told = {(row["seed"], row["learning_rate"]) for row in rows}
        assert told == {(276, 1e-3), (809, 1e-3), (276, 1e-2), (809, 1e-2)}
        assert all("layer" not in row or "site" in row for row in rows), "the same for all members"


def test_members_survive_their_folders_whatever_these_are_called(mistral, trained, tmp_path):
    folders = soo.save_adapters(tmp_path / "run" / "adapters", mistral, trained)
    assert folders[0].name == "seed-276-lr-0.001"
    shutil.move(folders[0], tmp_path / "run" / "adapters" / "the best one")
    loaded = soo.load_adapters(mistral, [tmp_path / "run"])
    assert set(loaded.members) == set(trained.members)


def test_adapters_of_two_runs_with_the_same_seeds_are_told_apart_by_what_differs(mistral, trained, tmp_path):
    other, _ = soo.finetune(mistral, PAIRS, replace(FAST, direction="other_to_self", learning_rate=1e-3))
    soo.save_adapters(tmp_path / "a" / "adapters", mistral, trained)
    soo.save_adapters(tmp_path / "b" / "adapters", mistral, other)
    both = soo.load_adapters(mistral, [tmp_path / "a", tmp_path / "b"])
    rows = soo.evaluate(mistral, SCENARIOS, ASK, adapters=both).rows
    assert {(row["seed"], row["direction"]) for row in rows} >= {(276, "both"), (276, "other_to_self")}
    shutil.copytree(tmp_path / "b", tmp_path / "copy")
    twice = soo.load_adapters(mistral, [tmp_path / "b", tmp_path / "copy"])
    assert {member.get("source") for member in twice.members} >= {"b/seed-276", "copy/seed-276"}
    with pytest.raises(SooError, match="is given twice"):
        soo.load_adapters(mistral, [tmp_path / "b", tmp_path / "b" / "adapters" / "seed-276"])
    deeper, _ = soo.finetune(mistral, PAIRS, replace(FAST, layer=2, learning_rate=1e-3))
    soo.save_adapters(tmp_path / "deeper" / "adapters", mistral, deeper)
    layers = soo.load_adapters(mistral, [tmp_path / "a", tmp_path / "deeper"])
    rows = soo.latent_overlap(mistral, PAIRS, adapters=layers, sites=("residual",))
    assert {row["trained_layer"] for row in rows} == {1, 2} and {row["layer"] for row in rows} == {0, 1, 2, 3}


def test_adapters_of_another_program_get_seeds_of_their_own(mistral, trained, tmp_path):
    for i, lora in enumerate(trained):
        soo.save_adapter(tmp_path / f"theirs-{i}", mistral, lora)
    loaded = soo.load_adapters(mistral, [tmp_path / f"theirs-{i}" for i in range(4)])
    assert [member.seed for member in loaded.members] == [0, 1, 2, 3]


def test_seeds_of_different_settings_never_fall_into_one_cell(mistral, trained):
    rows = soo.evaluate(mistral, SCENARIOS, ASK, adapters=trained).rows
    cells = {cell.condition: cell for cell in aggregate(rows)}
    assert set(cells) == {"soo · learning_rate 0.001", "soo · learning_rate 0.01"}
    assert all(cell.seeds == 2 for cell in cells.values())
    outcomes = seed_outcomes(rows, [{"seed": 809, "learning_rate": 1e-2, "step": 1, "loss": None}])
    diverged = [(one.seed, one.condition) for one in outcomes if one.verdict == "diverged"]
    assert diverged == [(809, "soo · learning_rate 0.01")]
