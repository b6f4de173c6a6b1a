"""Answers to MT-Bench: two turns, each category at its temperature, all adapters at once where they share a prompt."""

from __future__ import annotations

from collections.abc import Collection, Iterator, Sequence
from dataclasses import dataclass
from typing import NamedTuple

import jax

from soo_jax.adapters import Stack
from soo_jax.errors import SooError
from soo_jax.llm.evaluate import EvalConfig, answer
from soo_jax.models.lm import LM
from soo_jax.progress import Progress
from soo_jax.tasks.mtbench import BenchQuestion

LEAST_ROOM = 16
"""Tokens that must be left for an answer."""


@dataclass(frozen=True)
class BenchConfig:
    """How questions are answered: at most ``max_new_tokens`` a turn, ``batch_size`` questions at once, sampled from
    ``seed``."""

    max_new_tokens: int = 1024
    batch_size: int = 16
    seed: int = 0

    def __post_init__(self):
        for name in ("max_new_tokens", "batch_size"):
            if getattr(self, name) < 1:
                raise SooError(f"{name} must be at least 1, found {getattr(self, name)}")


class Answered(NamedTuple):
    """A question and the turns of every member's answer (of the base model alone without a stack)."""

    question: BenchQuestion
    turns: list[tuple[str, ...]]


def answer_questions(
    lm: LM,
    questions: Sequence[BenchQuestion],
    config: BenchConfig,
    adapters: Stack | None = None,
    *,
    known: Collection[int] = (),
    progress: Progress | None = None,
) -> Iterator[Answered]:
    """Answers what is not known yet, batch by batch. Batches are the same whatever is known, and so are the answers.

    Args:
      known: numbers of questions that are answered already.

    Raises:
      SooError: as :func:`check` does, or a later turn leaves no room for an answer.
    """
    check_questions(lm, questions, config)
    done = 0
    for temperature in sorted({question.temperature for question in questions}):
        alike = [question for question in questions if question.temperature == temperature]
        for start in range(0, len(alike), config.batch_size):
            batch = alike[start : start + config.batch_size]
            if all(question.id in known for question in batch):
                done += len(batch)
                continue
            told = _conversations(lm, batch, config, temperature, adapters)
            done += len(batch)
            if progress is not None:
                progress(done, len(questions))
            for i, question in enumerate(batch):
                if question.id not in known:
                    yield Answered(question, [own[i] for own in told])


def check_questions(lm: LM, questions: Sequence[BenchQuestion], config: BenchConfig) -> None:
    """Refuses what can be refused before anything is answered.

    Raises:
      SooError: the model has no chat template, or a first turn leaves no room for an answer.
    """
    if not lm.has_chat_template:
        raise SooError(f"{lm.folder}: MT-Bench is a conversation, and the tokenizer has no chat template")
    _room(lm, [lm.as_chat(question.turns[0]) for question in questions], config, 0)


def _conversations(
    lm: LM, batch: Sequence[BenchQuestion], config: BenchConfig, temperature: float, adapters: Stack | None
) -> list[list[tuple[str, ...]]]:
    """``[member][question]`` turns of the answer."""
    count = 1 if adapters is None else len(adapters)
    said: list[list[tuple[str, ...]]] = [[() for _ in batch] for _ in range(count)]
    for turn in range(max(len(question.turns) for question in batch)):
        asked = [i for i, question in enumerate(batch) if turn < len(question.turns)]
        prompts = lambda s, turn=turn, asked=asked: [
            lm.as_chat(batch[i].turns[turn], list(zip(batch[i].turns, said[s][i], strict=False))) for i in asked
        ]
        if turn == 0:  # the first prompt is the same for all members, later ones hold their own answers
            texts = _answer(lm, prompts(0), config, temperature, turn, adapters)
        else:
            each = [None] if adapters is None else [_only(adapters, s) for s in range(count)]
            texts = [_answer(lm, prompts(s), config, temperature, turn, one)[0] for s, one in enumerate(each)]
        for s in range(count):
            for i, text in zip(asked, texts[s], strict=True):
                said[s][i] += (text,)
    return said


def _answer(
    lm: LM, prompts: Sequence[str], config: BenchConfig, temperature: float, turn: int, adapters: Stack | None
) -> list[list[str]]:
    room = _room(lm, prompts, config, turn)
    settings = EvalConfig(
        max_new_tokens=room, batch_size=config.batch_size, chat=True, temperature=temperature, seed=config.seed + turn
    )
    return answer(lm, prompts, settings, None if adapters is None else adapters.lora).texts


def _room(lm: LM, prompts: Sequence[str], config: BenchConfig, turn: int) -> int:
    """Tokens that an answer to the longest of the prompts may have."""
    longest = max(map(len, lm.token_ids(prompts, chat=True)))
    room = min(config.max_new_tokens, lm.config.max_positions - longest)
    if room < min(LEAST_ROOM, config.max_new_tokens):
        raise SooError(
            f"MT-Bench: turn {turn + 1} begins with {longest} tokens, which leaves no room for an answer in the "
            f"model's context of {lm.config.max_positions}; lower --max-new-tokens"
        )
    return room


def _only(adapters: Stack, s: int) -> Stack:
    return Stack(jax.tree.map(lambda leaf: leaf[s : s + 1], adapters.lora), adapters.members[s : s + 1])
