"""What may predict, before any SOO, where SOO works in an organism: the library's diagnosis on scenes of its world.

A scene with a rival is told once with the rival as recipient ("... recommend to bob ?") and once with the organism
itself ("... to yourself ?"), both up to the word before the room. The two texts differ in one word, and the organism's
answers differ in the room.
"""

from __future__ import annotations

import random
from dataclasses import replace
from typing import Any

from soo_jax.llm.diagnose import Contrasts, layer_rows
from soo_jax.models.lm import LM
from soo_jax.tasks.organism import organism_pairs, organism_probe_pairs
from soo_jax.tasks.organism.pairs import DECISION
from soo_jax.tasks.organism.world import introduce, recommendation, sample_scene, tell_facts, tell_goal
from soo_jax.tasks.records import Pair


def predictors(lm: LM, count: int = 100, decision: str = DECISION) -> list[dict[str, Any]]:
    """One row per layer (:func:`soo_jax.llm.diagnose.layer_rows`).

    Args:
      count: scenes of the training split, which fit the linear probe, and of the validation split, which are judged.
      decision: what the texts go on with behind the question, up to the word before the room.
    """
    fit, held = (twins(lm, split, count, decision) for split in ("training", "validation"))
    extended = bool(decision)
    return layer_rows(lm, fit, held, organism_pairs(extended=extended), organism_probe_pairs(extended=extended))


def twins(lm: LM, split: str, count: int, decision: str) -> Contrasts:
    """Scenes with Bob as rival, each as two texts of equal length that differ in the recipient."""
    rng = random.Random(f"twins/{split}")
    pairs: list[Pair] = []
    rooms: list[tuple[str, str]] = []
    for _ in range(count):
        scene = replace(sample_scene(rng, split, person="rival"), name="bob")
        told = f"{introduce(scene)} {tell_facts(scene, 'the {place} holds {thing} .')} {tell_goal(scene)}"
        own, other = (
            f"{told} {recommendation(scene, recipient, 'recommend').text}{decision}"
            for recipient in ("yourself", scene.name)
        )
        pairs.append(Pair(own, other))
        rooms.append((scene.places[scene.coveted], scene.places[1 - scene.coveted]))
    right, wrong = ([lm.tokenizer.convert_tokens_to_ids(pair[i]) for pair in rooms] for i in (0, 1))
    return Contrasts.of(lm, pairs, right, wrong)
