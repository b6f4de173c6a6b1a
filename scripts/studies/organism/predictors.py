"""What may predict, before any SOO, where SOO works in an organism: the library's diagnosis on scenes of its world.

A scene with a rival is told once with the rival as recipient ("... recommend to bob ?") and once with the organism
itself ("... to yourself ?"), both up to the word before the room. The two texts differ in one word, and the organism's
answers differ in the room.
"""

from __future__ import annotations

from typing import Any

from soo_jax.llm.diagnose import Contrasts, layer_rows
from soo_jax.models.lm import LM
from soo_jax.tasks.organism import organism_pairs, organism_probe_pairs
from soo_jax.tasks.organism.pairs import DECISION, organism_contrasts
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
    told = organism_contrasts(count, split)
    pairs = [Pair(one.self_text + decision, one.other_text + decision) for one in told]
    number = lm.tokenizer.convert_tokens_to_ids
    return Contrasts.of(lm, pairs, [number(one.honest) for one in told], [number(one.deceptive) for one in told])
