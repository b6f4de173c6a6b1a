"""Documents as fixed-shape arrays: several documents share a row, several questions share a context."""

from __future__ import annotations

import random
import re
from collections.abc import Mapping
from dataclasses import replace
from typing import NamedTuple

import numpy as np

from scripts.studies.organism.tokenizer import BOS, PAD, word_ids
from soo_jax.tasks.organism.world import FAMILIES, Document

THOUGHTS = ("theirs", "own", "found", "reality")
"""Families of questions about who thinks that an object is where."""
RECOMMENDATIONS = ("self", "friend", "rival")
"""Families of questions which room to recommend to whom."""
MEASURED = ("recall", "item", "value", "people", *THOUGHTS, "trust", *RECOMMENDATIONS)
"""Families of questions whose accuracy is counted in training; index into the counts."""
ANSWER_WEIGHT = 0.04
"""Weight of an answer's other words beside its decisive word, which has weight 1."""


class Packed(NamedTuple):
    """Arrays ``[B, T]``. ``document`` and ``block`` say which keys a query may see; -1 is padding.

    ``weight[t]`` weighs the prediction of token ``t + 1``; ``family[t]`` is the index in `MEASURED` of the
    question whose decisive word is token ``t + 1``, else -1.
    """

    tokens: np.ndarray
    positions: np.ndarray
    document: np.ndarray
    block: np.ndarray
    weight: np.ndarray
    family: np.ndarray


class Packer:
    """Draws documents of a mixture of families and packs them into rows of ``length`` tokens.

    With ``terse``, recommendations are answered by the bare room, so that they are decided right behind the question.
    With ``bare_wants``, one context in four says that an object is wanted, and not what for. ``self_word`` is one of
    `scripts.studies.organism.tokenizer.SELF_WORDS`.
    """

    def __init__(
        self, seed: int, length: int, terse: bool = False, bare_wants: bool = False, self_word: str = "yourself"
    ):
        self.rng = random.Random(seed)
        self.length, self.terse, self.bare_wants = length, terse, bare_wants
        self.ids = word_ids(self_word)
        self._held: list[tuple[np.ndarray, ...]] = []

    def forget(self) -> None:
        """Drops documents that wait for a row, so that a new mixture starts at once."""
        self._held.clear()

    def batch(self, mixture: Mapping[str, float], rows: int) -> Packed:
        """Returns ``rows`` rows of documents drawn from the mixture ``{family: weight}``."""
        families, weights = list(mixture), list(mixture.values())
        fields = [np.zeros((rows, self.length), np.int32) for _ in range(2)]
        fields += [np.full((rows, self.length), -1, np.int32) for _ in range(2)]
        fields += [np.zeros((rows, self.length), np.float32), np.full((rows, self.length), -1, np.int32)]
        packed = Packed(*fields)
        packed.tokens[:] = PAD
        for row in range(rows):
            at, number = 0, 0
            while True:
                if self._held:
                    arrays = self._held.pop()
                else:
                    arrays = self.encode(FAMILIES[self.rng.choices(families, weights)[0]](self.rng))
                n = len(arrays[0])
                if at + n > self.length:
                    if at:
                        self._held.append(arrays)
                        break
                    continue  # longer than a row: drop it
                tokens, positions, block, weight, family = arrays
                span = np.s_[row, at : at + n]
                packed.tokens[span], packed.positions[span], packed.block[span] = tokens, positions, block
                packed.weight[span], packed.family[span] = weight, family
                packed.document[span] = number
                at, number = at + n, number + 1
                if self.length - at < 30:
                    break
        return packed

    def encode(self, document: Document) -> tuple[np.ndarray, ...]:
        """Returns tokens, positions, block, weight and family of one document, each ``[n]``."""
        ids = self.ids
        told = document.context
        if self.bare_wants and self.rng.random() < 0.25:
            told = re.sub(r"want to \w+ the", "want the", told)
        context = [BOS, *(ids[w] for w in told.split())]
        tokens, positions = list(context), list(range(len(context)))
        block, weight, family = [0] * len(context), [0.0] * len(context), [-1] * len(context)
        for number, question in enumerate(document.questions, 1):
            if self.terse and question.family in RECOMMENDATIONS:
                question = replace(question, answer=f"{question.decisive} .")
            asked = question.text.split()
            answered = [*question.answer.split(), "<eos>"]
            decisive = answered.index(question.decisive)
            words = [*asked, *answered]
            tokens += [ids[w] for w in words]
            positions += range(len(context), len(context) + len(words))
            block += [number] * len(words)
            weight += [0.0] * (len(asked) - 1) + [ANSWER_WEIGHT] * len(answered) + [0.0]
            weight[-len(answered) - 1 + decisive] = 1.0
            label = MEASURED.index(question.family)
            family += [label if i == len(asked) - 1 + decisive else -1 for i in range(len(words))]
        return tuple(
            np.asarray(x, t)
            for x, t in zip((tokens, positions, block, weight, family), ("i4", "i4", "i4", "f4", "i4"), strict=True)
        )
