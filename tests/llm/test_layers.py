"""``soo layers``: the diagnosis of any model on a pack's scenes, and its advice."""

import json
from dataclasses import replace

import pytest

import soo_jax as soo_api
from soo_jax.errors import SooError
from soo_jax.llm.layers import Diagnosis, aligned, diagnose_layers
from soo_jax.tasks.english import scene_contrasts, scene_pairs
from soo_jax.tasks.pack import pack_for
from soo_jax.tasks.records import Contrast, read_contrasts
from tests.test_docs import needs_organism


def row(layer, **values):
    names = (
        "gap",
        "relative_gap",
        "constant",
        "carry",
        "patch_recipient",
        "patch_question",
        "patch_answer",
        "patch_attention",
        "restored",
        "broken",
    )
    return {"layer": layer, **dict.fromkeys(names, 0.0), **values}


def test_contrasts_are_the_scenes_of_the_pairs_with_their_places():
    contrasts = scene_contrasts()
    assert [(c.self_text, c.other_text) for c in contrasts] == [(p.self_text, p.other_text) for p in scene_pairs()]
    for contrast, pair in zip(contrasts, scene_pairs(extended=True), strict=True):
        assert pair.other_text == f"{contrast.other_text} {contrast.lead}"
        prize = contrast.self_text.split("steal the ")[-1] if "steal the " in contrast.self_text else ""
        assert contrast.honest in contrast.self_text and contrast.deceptive in contrast.self_text
        if prize:
            thing = prize.split(".")[0].split(" before")[0]
            told = contrast.self_text.index(f" {thing} in") if f" {thing} in" in contrast.self_text else None
            if told is not None:
                assert contrast.self_text[told:].startswith(f" {thing} in the {contrast.honest}")


@needs_organism
def test_the_built_in_organism_is_advised_to_train_the_layer_at_which_soo_works():
    lm = soo_api.load("organism")
    pack = pack_for(lm.tokenizer.get_vocab(), lm.folder)
    found = diagnose_layers(lm, pack.contrasts(20), pack.pairs(False), pack.probes(False))
    assert found.apart > 0.9 and found.self_right > 0.9 and found.other_right < 0.1
    assert found.advised == (1,) and "Layer 1 decides" in found.advice
    assert "The fragments show that difference" in found.advice


def test_a_model_that_treats_self_and_other_alike_is_told_so(mistral):
    texts = (
        "you want the vase . a coin is in the study . where ?",
        "bob wants the vase . a coin is in the study . where ?",
    )
    contrasts = [Contrast(*texts, "study", "kitchen"), Contrast(texts[0], texts[1], "kitchen", "study")]
    pairs = [soo_api.Pair(*texts)]
    found = diagnose_layers(mistral, contrasts, pairs, pairs, chat=False)
    assert found.scenes == 2 and found.apart < 0.5
    assert "there is no difference for SOO to close" in found.advice
    assert [one["layer"] for one in found.rows] == list(range(mistral.config.num_layers))


def together(*layers, restored, right=1.0, rest=0.0):
    return {"layers": list(layers), "restored": restored, "right": right, "rest": rest}


def test_the_advice_says_what_the_table_shows():
    alone = Diagnosis(
        [row(0), row(1, restored=0.9, constant=0.9, carry=0.8), row(2)], [together(1, restored=0.9)], 10, 1.0, 0.0, 1.0
    )
    assert alone.advised == (1,) and "Layer 1 decides" in alone.advice and "The fragments show" in alone.advice
    assert "brings back 90% of the margin between the two sides and makes 100% of the answers right" in alone.advice
    fetched = replace(alone, rows=[row(1, restored=0.9, constant=0.1, carry=0.9)])
    assert "has fetched the place already" in fetched.advice and "Try whole scenes" in fetched.advice
    spread = replace(alone, rows=[row(0, restored=0.1), row(1, broken=0.15)], together=[])
    assert spread.advised == () and "the best one (layer 1) carries 15%" in spread.advice
    sets = [together(3, restored=0.0, right=0.0), together(3, 5, restored=0.85), together(3, 5, 6, restored=1.0)]
    several = replace(alone, together=sets)
    assert several.advised == (3, 5) and "Layers 3 and 5 decide together" in several.advice
    assert "brings back 85%" in several.advice and "Layers 3 and 5 decide together" in several.advice
    short = replace(alone, together=[together(3, restored=0.3), together(3, 5, restored=0.6, right=0.4)])
    assert short.advised == (3, 5) and "makes 40% of the answers right" in short.advice
    alike = replace(several, apart=0.4)
    assert alike.advised == () and "there is no difference for SOO to close" in alike.advice


@needs_organism
def test_layers_with_a_hand_in_the_decision_are_those_that_patching_moves():
    lm = soo_api.load("organism")
    pack = pack_for(lm.tokenizer.get_vocab(), lm.folder)
    found = diagnose_layers(lm, pack.contrasts(20), pack.pairs(False), pack.probes(False))
    hand = [one["layer"] for one in found.rows if max(one["restored"], one["broken"]) >= 0.2]
    assert [one["layers"] for one in found.together] == [hand[: i + 1] for i in range(len(hand))]
    assert found.rows[0]["restored"] == found.rows[0]["broken"] == pytest.approx(0, abs=1e-3)
    assert found.rows[1]["restored"] > 0.9 and found.rows[1]["broken"] > 0.9
    assert found.together[0] == {
        "layers": [1],
        "restored": pytest.approx(found.rows[1]["restored"]),
        "right": found.rows[1]["patch_attention"],
        "rest": pytest.approx(0.05, abs=0.1),
    }


def test_scenes_whose_places_begin_alike_are_left_out_or_refused(mistral):
    good, bad = Contrast("you ?", "bob ?", "study", "kitchen"), Contrast("you ?", "bob ?", "study one", "study two")
    assert len(aligned(mistral, [good, bad], chat=False).right) == 1
    with pytest.raises(SooError, match="in no scene can the two places be told apart"):
        aligned(mistral, [bad], chat=False)


def test_contrasts_of_ones_own_are_read_and_checked(tmp_path):
    path = tmp_path / "contrasts.jsonl"
    line = {"self": "you ?", "other": "bob ?", "honest": "study", "deceptive": "kitchen"}
    path.write_text(json.dumps(line) + "\n")
    assert read_contrasts(path) == [Contrast("you ?", "bob ?", "study", "kitchen")]
    path.write_text(json.dumps({**line, "deceptive": "Study"}) + "\n")
    with pytest.raises(SooError, match="line 1"):
        read_contrasts(path)
