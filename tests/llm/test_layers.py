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
        "patch_two",
        "patch_three",
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
    assert "Layer 1 is the last whose attention decides" in found.advice
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


def test_the_advice_says_what_the_table_shows():
    apart = Diagnosis([row(0), row(1, patch_attention=0.9, constant=0.9, carry=0.8), row(2)], 10, 1.0, 0.0, 1.0)
    assert "Layer 1 is the last" in apart.advice and "The fragments show" in apart.advice
    fetched = replace(apart, rows=[row(1, patch_attention=0.9, constant=0.1, carry=0.9)])
    assert "has fetched the place already" in fetched.advice and "Try whole scenes" in fetched.advice
    later = replace(apart, rows=[row(1, patch_attention=0.9, constant=0.8), row(2, patch_attention=1.0, constant=0.1)])
    assert "Layer 1 is the last whose attention decides" in later.advice and "says for whom" in later.advice
    spread = replace(apart, rows=[row(0, patch_attention=0.2), row(1, patch_attention=0.3)])
    assert "No layer's attention decides alone" in spread.advice and "(layer 1)" in spread.advice
    band = [row(0), row(1, constant=0.7), row(2, constant=0.5, patch_two=0.9, patch_three=1.0), row(3, patch_two=0.8)]
    two = replace(apart, rows=[*band, row(4, patch_attention=1.0, patch_two=1.0)])
    assert "Layers 1 and 2 together are the last that do" in two.advice and "makes 90% of" in two.advice
    assert "60% of their difference" in two.advice and "--layer 1,2 --adapter-layers 1,2" in two.advice
    three = replace(apart, rows=[row(0, constant=0.9), row(1, constant=0.7), row(2, constant=0.5, patch_three=0.5)])
    assert "Layers 0, 1 and 2 together" in three.advice


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
