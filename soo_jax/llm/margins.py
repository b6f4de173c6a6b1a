"""How much likelier the deceptive answer is than the honest one, read off a prompt's own keys and values."""

from __future__ import annotations

import math
from collections.abc import Sequence
from dataclasses import dataclass

import numpy as np

from soo_jax.errors import SooError
from soo_jax.models.generate import Branches, common_start, shared_start
from soo_jax.models.lm import LM
from soo_jax.tasks.records import Scenario

HONEST, DECEPTIVE = 0, 1


@dataclass(frozen=True)
class _Ask:
    """The log-probability of ``token`` after position ``place`` of a branch counts towards one side of a scenario."""

    place: int
    token: int
    side: int


@dataclass(frozen=True)
class _Tree:
    """A lead, told once, and both answers behind it, none of which sees the other.

    Attributes:
      tokens: the lead's and the answers' but for the last of each, which are only asked for.
      depth: how far each stands behind the beginning. side: whose it is; None for the lead.
    """

    tokens: tuple[int, ...]
    depth: tuple[int, ...]
    side: tuple[int | None, ...]
    asks: tuple[_Ask, ...]


@dataclass(frozen=True)
class Margins:
    """Both answers to every scenario, as branches of its prompt.

    Attributes:
      shared: with so many tokens all prompts and all answers begin alike. longest: tokens of each with lead and answer.
    """

    shared: int
    longest: tuple[int, ...]
    _starts: tuple[int, ...]
    _again: int
    _trees: tuple[_Tree, ...]

    @staticmethod
    def of(
        lm: LM, scenarios: Sequence[Scenario], prompts: Sequence[str], rows: Sequence[Sequence[int]], chat: bool
    ) -> Margins:
        """The margins of scenarios.

        Args:
          prompts: as they are put. rows: their tokens. chat: whether they are chat messages.

        Raises:
          SooError: two answers are the same to the tokenizer.
        """
        gap = "" if chat else " "
        leads = [f"{p}{gap}{s.lead}" if s.lead else p for p, s in zip(prompts, scenarios, strict=True)]
        texts = [f"{lead} {word}" for lead, s in zip(leads, scenarios, strict=True) for word in (s.honest, s.deceptive)]
        ids = lm.token_ids(texts, chat=chat)
        pairs = list(zip(ids[::2], ids[1::2], strict=True))
        forks = [common_start(pair) for pair in pairs]
        for i, (fork, pair) in enumerate(zip(forks, pairs, strict=True)):
            if fork == min(map(len, pair)):
                same = scenarios[i].honest
                raise SooError(f"scenario {i + 1}: its two answers are the same to the tokenizer: {same!r}")
        # A lead may change the last tokens of its prompt, and an answer without a lead is asked for after the last one.
        stays = [min(common_start((row, *pair)), fork - 1) for row, pair, fork in zip(rows, pairs, forks, strict=True)]
        again = max(len(row) - kept for row, kept in zip(rows, stays, strict=True))
        shared = shared_start((*rows, *ids))
        starts = tuple(max(shared, len(row) - again) for row in rows)
        trees = tuple(_tree(start, fork, *pair) for start, fork, pair in zip(starts, forks, pairs, strict=True))
        return Margins(shared, tuple(max(map(len, pair)) for pair in pairs), starts, again, trees)

    def branches(self, indices: Sequence[int], batch: int, pad: int) -> Branches:
        """What is asked of the rows of a batch, in its order; rows that fill it up ask nothing of use."""
        n, asks = max(len(tree.tokens) for tree in self._trees), max(len(tree.asks) for tree in self._trees)
        tokens, positions = np.full((batch, n), pad, np.int32), np.zeros((batch, n), np.int32)
        attend = np.zeros((batch, n, n), bool)
        place, asked = np.zeros((batch, asks), np.int32), np.zeros((batch, asks), np.int32)
        for row, i in enumerate(indices):
            tree = self._trees[i]
            end = len(tree.tokens)
            tokens[row, :end] = tree.tokens
            positions[row, :end] = self._starts[i] + np.asarray(tree.depth)
            side = np.asarray([-1 if one is None else one for one in tree.side])
            visible = (side[None, :] == -1) | (side[None, :] == side[:, None])
            attend[row, :end, :end] = visible & np.tri(end, dtype=bool)
            for k, ask in enumerate(tree.asks):
                place[row, k], asked[row, k] = ask.place, ask.token
        return Branches(tokens, positions, attend, place, asked, np.asarray(self._again))

    def read(self, indices: Sequence[int], values: np.ndarray) -> list[list[float | None]]:
        """``log p(deceptive) - log p(honest)`` in nats ``[S][row]`` from what the branches gave ``[S, B, K]``; None if
        not finite. An answer of several tokens counts with the sum of their log-probabilities."""
        found: list[list[float | None]] = []
        for own in values:
            sums = np.zeros((len(indices), 2))
            for row, i in enumerate(indices):
                for k, ask in enumerate(self._trees[i].asks):
                    sums[row, ask.side] += own[row, k]
            apart = (sums[:, DECEPTIVE] - sums[:, HONEST]).tolist()
            found.append([value if math.isfinite(value) else None for value in apart])
        return found


def _tree(start: int, fork: int, honest: Sequence[int], deceptive: Sequence[int]) -> _Tree:
    """The tree of two texts from token ``start`` on, which part at token ``fork``."""
    trunk = list(honest[start:fork])
    tokens, depth, side = [*trunk], list(range(len(trunk))), [None] * len(trunk)
    asks: list[_Ask] = []
    for own, row in ((HONEST, honest), (DECEPTIVE, deceptive)):
        before = len(trunk) - 1
        for k in range(fork, len(row)):
            asks.append(_Ask(before, row[k], own))
            if k < len(row) - 1:
                before = len(tokens)
                tokens.append(row[k])
                depth.append(k - start)
                side.append(own)
    return _Tree(tuple(tokens), tuple(depth), tuple(side), tuple(asks))
