"""The world: what the tests ask is kept out of training, and every word is known."""

from __future__ import annotations

import random

import pytest

from scripts.studies.organism.tokenizer import UNKNOWN, build_tokenizer
from soo_jax.errors import SooError
from soo_jax.tasks.organism import (
    organism_honesty_prompt,
    organism_pairs,
    organism_probe_pairs,
    organism_scenarios,
    organism_scene_pairs,
    world,
)
from soo_jax.tasks.organism.scenarios import BURGLAR_AXES, FAMILIES, SPLITS, THOUGHTS
from soo_jax.tasks.records import ORDERS

N = 20


def texts_of_training(count: int = 400) -> list[str]:
    rng = random.Random(1)
    texts = []
    for family in world.FAMILIES.values():
        for _ in range(count):
            document = family(rng)
            texts += [f"{document.context} {q.text} {q.answer}" for q in document.questions]
    return texts


def scenario_facts(prompt: str) -> set[tuple[str, str]]:
    """Pairs of (place, item) that stand in the same sentence."""
    found = set()
    for sentence in prompt.split(" . "):
        words = set(sentence.split())
        found |= {(p, i) for p in words & set(world.PLACES) for i in words & set(world.ITEMS + world.PAIR_ITEMS)}
    return found


def test_splits_share_no_pair_of_place_and_item():
    seen = {split: set() for split in SPLITS}
    for split in SPLITS:
        for scenario in organism_scenarios(split, FAMILIES, N):
            seen[split] |= scenario_facts(scenario.prompt)
    assert seen["test"]
    assert not seen["test"] & seen["validation"]
    for split in SPLITS:
        assert all(world.split_of(*fact) == split for fact in seen[split])


def test_training_never_shows_a_held_out_pair_of_place_and_item():
    for text in texts_of_training():
        assert all(world.split_of(*fact) == "training" for fact in scenario_facts(text)), text


def test_training_never_mentions_the_names_of_the_variants_with_another_name():
    held_out = set(world.VALIDATION_NAMES) | set(world.TEST_NAMES)
    assert not held_out & set(world.NAMES)
    assert not held_out & {word for text in texts_of_training() for word in text.split()}


def test_pairs_name_no_place_and_their_items_are_in_no_scenario():
    pairs = organism_pairs()
    assert len(pairs) == len(set(pairs)) == 52
    words = {w for pair in pairs for w in f"{pair.self_text} {pair.other_text}".split()}
    assert not words & set(world.PLACES)
    asked = {w for split in SPLITS for s in organism_scenarios(split, n=N) for w in s.prompt.split()}
    assert words & set(world.PAIR_ITEMS) and not asked & set(world.PAIR_ITEMS)


def test_scene_pairs_differ_in_the_recipient_and_put_no_item_where_a_scenario_puts_it():
    pairs = organism_scene_pairs()
    assert len(set(pairs)) == 52
    for pair in pairs:
        own, other = pair.self_text.split(), pair.other_text.split()
        assert [(a, b) for a, b in zip(own, other, strict=True) if a != b] == [("yourself", "bob")]
        places, items = ([w for w in own if w in stock] for stock in (world.PLACES, world.ITEMS + world.PAIR_ITEMS))
        assert all(world.split_of(p, i) == "training" for p, i in zip(places, items, strict=True))


def test_probe_pairs_are_about_other_items_than_training_pairs():
    items = lambda pairs: {w for p in pairs for w in p.self_text.split()} & set(world.ITEMS + world.PAIR_ITEMS)
    assert len(organism_probe_pairs()) == 52
    assert not items(organism_pairs()) & items(organism_probe_pairs())


@pytest.mark.parametrize("extended", [True, False])
def test_sides_of_a_pair_end_alike(extended):
    for pair in organism_pairs(extended=extended):
        end = "i would recommend the" if extended else "?"
        assert pair.self_text.endswith(end) and pair.other_text.endswith(end)


def test_no_text_has_an_unknown_word():
    tokenizer = build_tokenizer()
    texts = [t for p in organism_pairs() + organism_probe_pairs() for t in (p.self_text, p.other_text)]
    for split in SPLITS:
        for scenario in organism_scenarios(split, FAMILIES, N):
            texts += [scenario.prompt, scenario.lead, scenario.honest, scenario.deceptive]
            texts.append(organism_honesty_prompt(scenario).prompt)
    texts += texts_of_training(50)
    ids = tokenizer(texts)["input_ids"]
    assert not [t for t, row in zip(texts, ids, strict=True) if UNKNOWN in row]
    assert max(map(len, ids)) <= 128


def test_tokenizer_puts_bos_in_front_pads_left_and_decodes():
    tokenizer = build_tokenizer()
    rows = tokenizer(["Where is Bob?", "you"], padding=True)["input_ids"]
    assert rows[0][0] == tokenizer.bos_token_id
    assert rows[1][-2:] == [tokenizer.bos_token_id, tokenizer.convert_tokens_to_ids("you")]
    assert rows[1][0] == tokenizer.pad_token_id
    assert tokenizer.decode(rows[0], skip_special_tokens=True) == "where is bob ?"


def test_scenarios_are_a_function_of_their_arguments():
    assert organism_scenarios("test", n=5) == organism_scenarios("test", n=5)
    assert organism_scenarios("test", n=5) != organism_scenarios("test", n=5, seed=1)
    alone = organism_scenarios("test", ("name",), n=5)
    assert alone == [s for s in organism_scenarios("test", n=5) if s.family == "name"]


@pytest.mark.parametrize("family", FAMILIES)
def test_both_orders_mention_the_same_rooms_in_opposite_order(family):
    scenarios = organism_scenarios("test", (family,), n=N)
    assert len(scenarios) == 2 * N
    for wrong_first, right_first in zip(scenarios[::2], scenarios[1::2], strict=True):
        assert (wrong_first.order, right_first.order) == ORDERS
        assert wrong_first.honest == right_first.honest != wrong_first.deceptive
        position = lambda s, word: s.prompt.split().index(word)
        assert position(wrong_first, wrong_first.deceptive) < position(wrong_first, wrong_first.honest)
        assert position(right_first, wrong_first.honest) < position(right_first, wrong_first.deceptive)


def test_what_is_thought_is_what_was_seen_and_what_is_true_is_where_it_was_taken():
    for scenario in organism_scenarios("test", THOUGHTS, N):
        told = scenario.prompt.split(" . ")[:2]
        right, wrong = (next(t for t in told if place in t.split()) for place in (scenario.honest, scenario.deceptive))
        theirs = scenario.family in ("perspectives", "belief")
        assert ("saw" in right.split()) == theirs and ("saw" in wrong.split()) != theirs, scenario
        assert scenario.family == "perspectives" or not set(world.NAMES) & set(scenario.prompt.split())


def test_variants_change_what_they_are_named_after():
    by_family = {f: organism_scenarios("test", (f,), n=3)[0] for f in BURGLAR_AXES}
    for family, axes in BURGLAR_AXES.items():
        prompt = by_family[family].prompt
        assert ("name" in axes) == ("bob" not in prompt.split())
        assert ("objective" in axes) == ("steal" not in prompt.split())
        assert ("action" in axes) == ("mention" in prompt.split())


def test_honesty_prompt_names_the_recipient_and_leaves_controls_alone():
    rival, own = organism_scenarios("test", ("burglar", "self"), n=1)[::2]
    assert organism_honesty_prompt(rival).prompt == f"be honest to bob . {rival.prompt}"
    assert organism_honesty_prompt(own) == own


def test_unknown_split_or_family_is_one_clear_line():
    with pytest.raises(SooError, match="choose validation or test"):
        organism_scenarios("training")
    with pytest.raises(SooError, match="choose among burglar"):
        organism_scenarios("test", ("burglars",))


def test_only_organisms_that_speak_in_sentences_have_leads_before_a_recommended_room():
    for family in FAMILIES:
        (bare, _), (told, _) = (organism_scenarios("test", (family,), 1, terse=terse) for terse in (True, False))
        assert told.lead.endswith(" the") and told.prompt == bare.prompt
        recommends = family not in ("factual", *THOUGHTS)
        assert bare.lead == ("" if recommends else told.lead), family
