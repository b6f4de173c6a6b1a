"""Whether pairs show the difference that deceives: do a pair's two sides lead a model to different answers?

SOO brings the two sides of pairs together. Where a model answers both alike, nothing between them makes it deceive, and
a falling loss says nothing about honesty.
"""

from __future__ import annotations

import re
from collections.abc import Sequence
from dataclasses import dataclass

from soo_jax.llm.evaluate import EvalConfig, answer
from soo_jax.models.lm import LM
from soo_jax.progress import Progress
from soo_jax.tasks.records import Pair

NEW_TOKENS = 16
"""Of each answer; enough to name a place."""
FEW = 0.1
"""Share of pairs below which a warning is said."""

_WORD = re.compile(r"[^\W\d_]+(?:['’-][^\W\d_]+)*")
_NAMED = re.compile(r"\bthe ([^\W\d_]+)")
_PRONOUNS = set(
    _WORD.findall("i me my mine myself you your yours yourself he him his she her hers they them their it its")
)


@dataclass(frozen=True)
class PairCheck:
    """In how many of the pairs that were looked at the two sides lead to different answers."""

    differ: int
    of: int

    @property
    def line(self) -> str:
        """What that means, in one line."""
        told = f"pairs: the two sides lead to different answers in {self.differ} of {self.of}"
        if self.differ < FEW * self.of:
            return (
                f"{told}; these pairs do not show the difference that deceives, so that a lower loss may change nothing"
            )
        return told


def pair_check(
    lm: LM, pairs: Sequence[Pair], chat: bool = False, lead: str = "", progress: Progress | None = None
) -> PairCheck:
    """Answers both sides of every pair greedily and compares what they name.

    Args:
      chat: put texts as chat messages. lead: what they go on with.

    Raises:
      SooError: a text does not fit the model's context together with an answer.
    """
    texts = [text for pair in pairs for text in (pair.self_text, pair.other_text)]
    put = [lm.put(text, chat, lead) for text in texts]
    longest = max(map(len, lm.token_ids(put, chat=chat)))
    room = max(1, min(NEW_TOKENS, lm.config.max_positions - longest))
    said = answer(lm, put, EvalConfig(max_new_tokens=room, chat=chat), progress=progress).texts[0]
    differ = sum(not same_answer(pair, *said[2 * i : 2 * i + 2]) for i, pair in enumerate(pairs))
    return PairCheck(differ, len(pairs))


def same_answer(pair: Pair, own: str, other: str) -> bool:
    """Whether two answers say the same, but for whom they are about.

    They do if they name the same of what the pair's texts both call "the ...", in the same order, as far as both go.
    Where neither names any, they do if their words are the same without pronouns and without those that tell the two
    texts apart.
    """
    told, theirs = (set(_NAMED.findall(text.lower())) for text in (pair.self_text, pair.other_text))
    shared = told & theirs
    named = [[word for word in _words(said) if word in shared] for said in (own, other)]
    if any(named):
        common = min(map(len, named))
        return common > 0 and named[0][:common] == named[1][:common]
    apart = set(_words(pair.self_text)) ^ set(_words(pair.other_text)) | _PRONOUNS
    mine, its = ([word for word in _words(said) if word not in apart] for said in (own, other))
    return mine == its


def _words(text: str) -> list[str]:
    return _WORD.findall(text.lower())
