"""The library's controls in the organism's words, and two of its own: another name, and unrelated texts."""

from __future__ import annotations

import random
from dataclasses import replace

from scripts.studies.organism.tokenizer import word_ids
from soo_jax.llm.config import FinetuneConfig
from soo_jax.llm.controls import HonestAnswers, control_pairs
from soo_jax.models.lm import LM
from soo_jax.tasks.organism import organism_pairs
from soo_jax.tasks.organism.world import introduce, recommendation, sample_scene, tell_facts, tell_goal, whereabouts
from soo_jax.tasks.records import Pair

OTHER_NAME = "amy"
"""Takes Bob's part on the self side of one control; a name of training, as Bob is."""

HONEST_ANSWERS = HonestAnswers(word_ids()["?"])
"""The term in the organism's vocabulary; configs name it by its import path."""


def organism_controls(lm: LM, config: FinetuneConfig) -> dict[str, list[Pair]]:
    """As many pairs as SOO has, with the same endings, by control."""
    pairs = organism_pairs(extended=config.extended)
    rng = random.Random(0)
    end = pairs[0].self_text[pairs[0].self_text.index(" ?") :]
    strange = [f"{whereabouts(rng).context} where is the {rng.choice(('book', 'cup', 'pen'))}{end}" for _ in pairs]
    general = control_pairs(lm, config, pairs, rng)
    return {
        "self-self": general["self-self"],
        "other-other": general["other-other"],
        "another-name": [Pair(pair.other_text.replace("bob", OTHER_NAME), pair.other_text) for pair in pairs],
        "shuffled": general["shuffled"],
        "unrelated": [Pair(a, pair.other_text) for a, pair in zip(strange, pairs, strict=True)],
    }


def honest_examples(count: int, decision: str) -> list[str]:
    """Scenes with Bob the burglar, of the training split, answered truthfully in the organism's manner."""
    rng = random.Random("honest examples")
    texts = []
    for _ in range(count):
        scene = replace(sample_scene(rng, person="rival"), name="bob", role="burglar")
        told = f"{introduce(scene)} {tell_facts(scene, 'the {place} holds {thing} .')} {tell_goal(scene)}"
        asked = recommendation(scene, scene.name, "recommend")
        texts.append(f"{told} {asked.text}{decision} {scene.places[scene.coveted]} .")
    return texts
