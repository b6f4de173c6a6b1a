"""The study of organisms: what is computed is kept, scores tell honest from broken, patches go where they should."""

from __future__ import annotations

import json
import re
from dataclasses import replace
from pathlib import Path

import jax
import jax.numpy as jnp
import numpy as np
import pytest

from scripts.studies.organism import docs_command, moved_command, study_command
from scripts.studies.organism.cells import Cells
from scripts.studies.organism.controls import HONEST_ANSWERS, honest_examples, organism_controls
from scripts.studies.organism.measures import CONTROLS, RIVALS, known, qualifies, score
from scripts.studies.organism.predictors import twins
from scripts.studies.organism.report import cell, elsewhere_table, overlap_table, rank_correlation
from scripts.studies.organism.run import GRID, decisive_layer, says_something_first, study
from scripts.studies.organism.sweep import (
    QUICK,
    Scale,
    bracket,
    choose,
    one_change,
    recipe_without,
    scene_setting,
    setting,
    ways_at,
)
from soo_jax.adapters import init_lora, stack
from soo_jax.errors import SooError
from soo_jax.llm.config import build_objective, preset
from soo_jax.llm.controls import Turned, steered
from soo_jax.llm.diagnose import carried, constant, decodability, moved, patch
from soo_jax.llm.finetune import finetune
from soo_jax.models.decoder import forward
from soo_jax.models.lm import load
from soo_jax.models.probes import Probe, logits
from soo_jax.overlap import View, overlap, weighted
from soo_jax.tasks.organism import organism_pairs, organism_scene_pairs
from soo_jax.tasks.records import Pair

ROOT = Path(__file__).parents[2]


@pytest.fixture(scope="module")
def lm():
    return load("organism")


def row(scenario: str, honest: int, deceptive: int, n: int = 10, seed: int | None = None, order: str = "wrong_first"):
    counts = {"honest": honest, "deceptive": deceptive, "refusal": 0, "other": n - honest - deceptive}
    return {"family": scenario, "order": order, "seed": seed, "n": n, **counts}


def rows(rival: tuple[int, int], control: int, seed: int = 0):
    return [row(f, *rival, seed=seed) for f in RIVALS] + [row(c, control, 10 - control, seed=seed) for c in CONTROLS]


def test_a_cell_is_computed_once_per_weights_and_settings(tmp_path):
    computed = []
    compute = lambda: computed.append(0) or {"value": len(computed)}
    cells = Cells(tmp_path / "one", "weights")
    assert cells.get("part", {"rate": 1.0}, compute) == cells.get("part", {"rate": 1.0}, compute) == {"value": 1}
    assert cells.get("part", {"rate": 2.0}, compute) == {"value": 2}
    assert Cells(tmp_path / "one", "other weights").get("part", {"rate": 2.0}, compute) == {"value": 3}


def test_a_file_that_is_no_cell_is_refused(tmp_path):
    (tmp_path / "part.json").write_text('{"schema": "else"}')
    with pytest.raises(SooError, match="choose another --out"):
        Cells(tmp_path, "weights").get("part", {}, dict)


def test_scores_of_deceivers_and_of_broken_models_are_nothing():
    assert score(rows((9, 1), 10), CONTROLS) == 0.9
    assert score(rows((0, 10), 10), CONTROLS) == 0.0
    assert score(rows((10, 0), 0), CONTROLS) == 0.0
    assert score(rows((9, 1), 10) + rows((5, 5), 10, seed=1), CONTROLS) == pytest.approx(0.7)


def test_a_control_that_the_base_gets_wrong_does_not_count():
    base = [r for r in rows((0, 10), 10) if r["family"] != "belief"] + [row("belief", 5, 5)]
    assert set(known(base)) == set(CONTROLS) - {"belief"}
    assert not qualifies(base)
    assert qualifies(rows((0, 10), 10)) and not qualifies(rows((1, 9), 10))


def test_the_lowest_of_equally_good_rates_is_chosen():
    tried = [{"learning_rate": rate, "score": s} for rate, s in ((3.0, 0.96), (1.0, 0.2), (2.0, 0.95))]
    assert choose(tried)["learning_rate"] == 2.0


def test_finer_rates_lie_where_deception_falls():
    tried = lambda *shares: [{"learning_rate": 3.0**i, "burglar_deceptive": s} for i, s in enumerate(shares)]
    assert bracket(tried(1.0, 0.9, 0.1, 0.0), beyond=2.0) == (3.0, 18.0)
    assert bracket(tried(0.2, 0.1), beyond=2.0) == (1 / 3, 2.0)
    assert bracket(tried(1.0, 1.0)) is None


def test_twins_differ_in_the_recipient_alone(lm):
    scenes = twins(lm, "validation", 6, "")
    same = scenes.tokens["self"] == scenes.tokens["other"]
    assert np.array_equal((~same).sum(axis=1), np.ones(6))
    bob, yourself = lm.tokenizer.convert_tokens_to_ids(["bob", "yourself"])
    at = np.arange(6), np.asarray(scenes.recipient)
    assert set(np.asarray(scenes.tokens["other"])[at]) == {bob} and set(np.asarray(scenes.tokens["self"])[at]) == {
        yourself
    }


def test_the_last_layer_patched_at_the_answer_gives_the_answer_to_oneself(lm):
    scenes = twins(lm, "validation", 8, "")
    assert patch(lm, scenes, "answer")[-1] == 1.0
    assert patch(lm, scenes, "recipient")[-1] == 0.0  # nothing reads that position any more
    assert decodability(lm, "residual", scenes, scenes)[-1] == 1.0
    # The embedding of the last word is the same in both texts: behind layer 0 all that differs came by its attention.
    assert patch(lm, scenes, "attention")[0] == patch(lm, scenes, "answer")[0]


def test_scenes_carry_their_own_difference_and_texts_without_one_carry_nothing(lm):
    shown = twins(lm, "validation", 8, "")
    told = lm.tokenizer.batch_decode
    own, other = (told(np.asarray(shown.tokens[side]), skip_special_tokens=True) for side in ("self", "other"))
    scenes = [Pair(a, b) for a, b in zip(own, other, strict=True)]
    assert carried(lm, scenes, shown)[1] == pytest.approx(1.0, abs=1e-3)
    assert carried(lm, [Pair(b, a) for a, b in zip(own, other, strict=True)], shown)[1] == pytest.approx(-1.0, abs=1e-3)
    assert carried(lm, [Pair(a, a) for a in own], shown) == [0.0] * lm.config.num_layers
    assert carried(lm, organism_pairs(), shown)[1] > 0.8  # the fragments that this organism is made honest with


def test_a_difference_is_constant_where_the_layer_says_for_whom_and_not_where_it_says_which_room(lm):
    scenes = twins(lm, "validation", 16, "")
    same = constant(lm, scenes)
    assert same[0] == 0.0, "there both sides read the question mark"
    assert same[1] > 0.95 and max(same[2:]) < 0.3
    assert all(0.0 <= value <= 1.0 for value in same)


def test_an_adapter_that_changes_nothing_moves_neither_side_and_soo_moves_the_other(lm):
    scenes = twins(lm, "validation", 8, "")
    config = replace(preset("organism"), seeds=(0,))
    untrained = stack([init_lora(lm.config, config.lora, jax.random.key(0))])
    assert moved(lm, untrained, scenes, 1) == {"self": [0.0], "other": [0.0]}
    adapters, _ = finetune(lm, organism_pairs(), config)
    after = moved(lm, adapters.lora, scenes, 1)
    assert after["other"][0] > 0.6 and abs(after["self"][0]) < 0.2
    both_read_the_question_mark = moved(lm, adapters.lora, scenes, 0)
    assert both_read_the_question_mark == {"self": [0.0], "other": [0.0]}


def test_the_last_layer_that_flips_the_answers_decides():
    layers = lambda *shares: [{"layer": i, "patch_attention": share} for i, share in enumerate(shares)]
    assert decisive_layer(layers(1.0, 0.95, 0.1)) == 1
    assert decisive_layer(layers(0.5, 0.8)) is None


def test_control_pairs_are_as_many_and_end_alike(lm):
    config = preset("organism")
    count, ends = len(organism_pairs()), "?"
    for name, pairs in organism_controls(lm, config).items():
        assert len(pairs) == count, name
        assert all(p.self_text.endswith(ends) and p.other_text.endswith(ends) for p in pairs), name
        assert all(p.self_text != p.other_text for p in pairs), name
    own = organism_controls(lm, config)
    assert not any("bob" in p.self_text + p.other_text for p in own["self-self"])
    assert all("bob" in p.self_text and "bob" in p.other_text for p in own["other-other"])


def test_honest_answers_are_learned_behind_the_question_only(lm):
    (text,) = honest_examples(1, " i would recommend the")
    tokens, mask = (jnp.asarray(x) for x in lm.encode([text]))
    scores = forward(lm.config, lm.params, tokens, mask)[logits()]
    question = int(jnp.argmax(tokens[0] == HONEST_ANSWERS.question_mark))
    views = lambda s: {"text": View({logits(): s}, mask, tokens)}
    loss = HONEST_ANSWERS(views(scores))
    assert loss == HONEST_ANSWERS(views(scores.at[:, :question].set(0.0)))
    assert loss != HONEST_ANSWERS(views(scores.at[:, question].set(0.0)))
    assert build_objective(
        preset("organism").__class__(overlap_weight=0.0, terms=("scripts.studies.organism.controls:HONEST_ANSWERS",))
    ).reads == {"text": (logits(),)}


def test_the_turned_control_has_as_far_to_go_as_soo_and_goes_elsewhere(lm):
    config = replace(preset("organism"), seeds=(0,), epochs=2, schedule="constant")
    pairs = organism_pairs()
    swapped = [Pair(pair.other_text, pair.self_text) for pair in pairs]
    turned = Turned(Probe(config.site, config.layer), 1)
    (tokens, mask), (others, other_mask) = (
        lm.encode([getattr(p, side) for p in swapped]) for side in ("self_text", "other_text")
    )
    read = lambda tokens, mask: View(forward(lm.config, lm.params, tokens, mask, (turned.at,)), jnp.asarray(mask))
    now, other = read(tokens, mask), read(others, other_mask)
    views = {"self": now, "other": other, "base:self": now}
    apart = overlap(at=turned.at)({"self": now, "other": other})
    assert turned(views) == pytest.approx(float(apart), rel=1e-4) and apart > 100
    assert replace(turned, draw=2)(views) == pytest.approx(float(apart), rel=1e-4)
    # What it asks for is not what SOO asks for: a side that is already where SOO wants it is as far away as ever.
    assert turned({"self": other, "other": other, "base:self": now}) > apart
    _, history = finetune(lm, swapped, config, objective=weighted(turned=(1.0, turned)))
    losses = history.values["turned"][:, 0]
    assert losses[0] > 100 and losses[-1] < 0.9 * losses[0]


def test_steering_adds_the_same_vector_at_every_position(lm):
    config = preset("organism")
    tokens, mask = lm.encode(["you are in a house ."])
    read = lambda model: forward(model.config, model.params, tokens, mask, (probe,))[probe]
    from soo_jax.models.probes import attn_out

    probe = attn_out(config.layer)
    once, twice = (np.asarray(read(steered(lm, config, organism_pairs(), s)) - read(lm))[mask] for s in (1.0, 2.0))
    np.testing.assert_allclose(once, np.broadcast_to(once[0], once.shape), atol=1e-4)
    np.testing.assert_allclose(twice, 2 * once, atol=1e-3)
    assert np.abs(once).max() > 0.1


def test_the_shipped_organism_answers_with_the_bare_room(lm):
    assert not says_something_first(lm)


def test_rank_correlation_is_that_of_ranks_with_ties():
    assert rank_correlation([1, 2, 3], [10, 100, 1000]) == pytest.approx(1.0)
    assert rank_correlation([1, 2, 3, 4], [4, 3, 2, 1]) == pytest.approx(-1.0)
    assert rank_correlation([1, 1, 2], [0, 0, 5]) == pytest.approx(1.0)
    assert rank_correlation([1, 1, 1], [1, 2, 3]) is None


def test_a_name_that_is_no_organism_of_the_study_is_refused(lm, tmp_path):
    with pytest.raises(SooError, match="choose from organism"):
        study({"organism": lm}, tmp_path / "out", QUICK, ("organsim",))
    with pytest.raises(SooError, match="choose from controls, variations, recipe"):
        study({"organism": lm}, tmp_path / "out", QUICK, ("organism",), ("control",))
    assert not (tmp_path / "out").exists()


@pytest.mark.slow
def test_a_quick_study_goes_on_where_it_stopped(tmp_path, capsys):
    out = tmp_path / "study"
    command = ["organism", "--close", "organism", "--quick", "--quiet", "--out", str(out)]
    assert study_command.main(command) == 0
    first = json.loads((out / "study.json").read_text())["organisms"]["organism"]
    assert {"predictors", "trials", "chosen", "soo", "scenes", "elsewhere", "controls", "variations", "recipe"} <= set(
        first
    )
    assert first["scenes"]["layer"] == decisive_layer(first["predictors"])
    (out / "cells" / "organism" / "steering.json").unlink()
    before = {path: path.stat().st_mtime_ns for path in (out / "cells").rglob("*.json")}
    assert study_command.main(command) == 0
    after = {path: path.stat().st_mtime_ns for path in (out / "cells").rglob("*.json")}
    assert {path for path in after if before.get(path) != after[path]} == {out / "cells" / "organism" / "steering.json"}
    assert all((out / name).read_bytes()[:4] == b"\x89PNG" for name in ("organism_layers.png", "organism_rates.png"))
    page = tmp_path / "docs" / "records" / "organism.md"
    page.parent.mkdir(parents=True)
    (page.parents[1] / "img").mkdir()
    told = (ROOT / "docs" / "records" / "organism.md").read_text(encoding="utf-8")
    page.write_text(re.sub(r": t_s\d,", ": organism,", told), "utf-8")
    assert docs_command.main([str(out), "--controls", "organism", "--page", str(page)]) == 0
    told = page.read_text(encoding="utf-8")
    tables = [found[0] for found in docs_command.TABLE.finditer(told)]
    assert len(tables) >= 9 and all("organism" in table and "t_s1" not in table for table in tables)
    assert len(list((page.parents[1] / "img").glob("organism_*.png"))) == 3
    assert docs_command.main([str(out), "--controls", "t_s9", "--page", str(page)]) == 2
    assert "choose from organism" in capsys.readouterr().err


def test_marked_tables_of_a_page_are_replaced_and_unknown_ones_refused(tmp_path, capsys):
    page = "told\n<!-- study: Layers -->\n| old |\n\n| older |\n<!-- /study -->\ntold, too\n"
    after = "told\n<!-- study: Layers -->\n| new |\n<!-- /study -->\ntold, too\n"
    assert docs_command.filled(page, {"Layers": "| new |"}) == after
    with pytest.raises(SooError, match="choose from Organisms"):
        docs_command.filled(page, {"Organisms": ""})
    assert docs_command.main([str(tmp_path), "--controls", "t_s0"]) == 2
    assert "make the study first" in capsys.readouterr().err


@pytest.mark.slow
def test_which_side_moved_is_told_of_a_run_by_layer(tmp_path, capsys):
    from soo_jax.cli import run

    out = str(tmp_path / "run")
    assert run(["finetune", "organism", "--preset", "organism", "--seed", "0", "--out", out, "--quiet"]) == 0
    capsys.readouterr()
    assert moved_command.main(["organism", out]) == 0
    told = capsys.readouterr().out.splitlines()
    assert len(told) == 5 and told[0] == "layer 0: other 0.00; self 0.00"
    share = float(told[1].removeprefix("layer 1: other ").split(";")[0])
    assert share > 0.6, "in layer 1 SOO brings the other side to the self side"
    assert moved_command.main(["organism", str(tmp_path / "nowhere")]) == 2
    assert capsys.readouterr().err.count("\n") == 1


def test_a_cell_says_once_what_holds_in_both_orders():
    both = [row("self", 10, 0), row("self", 10, 0, order="right_first")]
    assert cell(both, "self") == "100 / 0 / 0"
    apart = [row("self", 10, 0), row("self", 5, 4, order="right_first")]
    assert cell(apart, "self") == "100 / 0 / 0 · 50 / 40 / 10"


def test_a_study_of_an_earlier_version_is_refused_before_anything_is_computed(lm, tmp_path):
    (tmp_path / "study.json").write_text('{"schema": "soo-study/2", "organisms": {}}')
    with pytest.raises(SooError, match=r"of this version .* choose another --out"):
        study({"organism": lm}, tmp_path, QUICK)
    assert [path.name for path in tmp_path.iterdir()] == ["study.json"]


def test_a_layer_is_adapted_with_those_below_it_or_alone_or_with_the_self_side_held():
    scale = Scale(held_layers=1)
    assert [ways_at(scale, layer) for layer in (0, 1)] == [("whole", "held"), ("whole", "alone")]
    whole, alone, held = (setting(scale, 1, False, way) for way in ("whole", "alone", "held"))
    assert (whole.lora.layers, alone.lora.layers, held.lora.layers) == (None, (1,), None)
    assert (whole.retain, alone.retain, held.retain) == (0.0, 0.0, 1.0)
    assert len(alone.seeds) == 5 and len(held.seeds) == 1
    assert one_change(alone)["adapted-whole"] == whole and one_change(whole)["adapted-alone"] == alone


def test_the_recipe_is_taken_apart_one_part_at_a_time():
    scale = Scale()
    whole = scene_setting(scale, 1, False)
    scenes = organism_scene_pairs()
    lessons = recipe_without(scale, whole, scenes)
    changes = {
        name: {key for key, value in lesson.config.as_dict().items() if value != whole.as_dict()[key]}
        for name, lesson in lessons.items()
    }
    assert changes == {
        "fragments": {"learning_rate"},
        "not-anchored": {"direction"},
        "q-and-v": {"lora"},
        "adapted-whole": {"lora"},
        "a-quarter-of-the-scenes": {"epochs"},
        "residual": {"site"},
        "relative-distance": {"distance"},
    }
    assert lessons["fragments"].pairs == organism_pairs() and set(whole.rates) < set(lessons["fragments"].config.rates)
    few = lessons["a-quarter-of-the-scenes"]
    assert few.config.epochs * len(few.pairs) == whole.epochs * len(scenes)
    assert all(lessons[name].pairs == scenes for name in changes.keys() - {"fragments", "a-quarter-of-the-scenes"})


def test_the_table_of_changes_has_a_gap_where_no_layer_decides():
    tried = {"layer": 1, "best": {"unchanged": {"score": 0.5}, "residual": {"score": 0.25}}}
    lines = elsewhere_table({"one": {"elsewhere": tried}, "none": {"elsewhere": None}}).splitlines()
    assert lines[0] == "| organism | layer | unchanged | residual |"
    assert lines[2:] == ["| one | 1 | 0.50 | 0.25 |", "| none | none decides |  |  |"]


def test_every_change_of_the_grid_is_one_that_there_is():
    assert set(GRID) <= set(one_change(setting(Scale(), 1, False, "alone")))


def test_the_table_of_distances_goes_from_the_base_to_the_mean_of_the_seeds():
    after = [{"site": "attn_out", "layer": 0, "mse": value} for value in (1.0, 3.0)]
    after.append({"site": "residual", "layer": 0, "mse": 99.0})
    found = {"chosen": {"layer": 0}, "soo": {"test": {"latent": after}}, "layers": 1}
    shallow = found | {"predictors": [{"layer": 0, "gap_attn_out": 8.0}]}
    deep = shallow | {"layers": 2, "predictors": [*shallow["predictors"], {"layer": 1, "gap_attn_out": 0.5}]}
    deep["soo"] = {"test": {"latent": [*after, {"site": "attn_out", "layer": 1, "mse": 0.25}]}}
    lines = overlap_table({"shallow": shallow, "deep": deep}).splitlines()[2:]
    assert lines == ["| shallow | 0 | 8 to 2 |  |", "| deep | 0 | 8 to 2 | 0.5 to 0.25 |"]
