"""MT-Bench's files: questions of two turns, answers, and what a judge says of them (Zheng et al., arXiv 2306.05685).

The forms are FastChat's, so that its questions can be read and its tools can read what is written here. Neither its
questions nor its prompts are part of this project.
"""

from __future__ import annotations

import re
from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from soo_jax.files import read_json_lines
from soo_jax.tasks.statistics import mean_sd

TEMPERATURES = {"writing": 0.7, "roleplay": 0.7, "stem": 0.1, "humanities": 0.1}
"""By category; greedy in all others."""
REFERENCED = ("math", "reasoning", "coding", "arena-hard-200")
"""Categories that are judged beside a reference answer, where there is one."""
UNRATED = -1.0
"""The score of an answer that the judge gave no rating; it is left out of means."""

_RATING = re.compile(r"\[\[(\d+(?:\.\d+)?)\]\]")
_QUESTION = '{"question_id": 81, "category": "writing", "turns": ["...", "..."]}'
_ANSWER = '{"question_id": 81, "model_id": "base", "choices": [{"index": 0, "turns": ["...", "..."]}]}'


@dataclass(frozen=True)
class BenchQuestion:
    """One question: its turns are asked one after the other. ``reference`` holds an answer to each turn, or nothing."""

    id: int
    category: str
    turns: tuple[str, ...]
    reference: tuple[str, ...] = ()

    @property
    def temperature(self) -> float:
        """How it is sampled."""
        return TEMPERATURES.get(self.category, 0.0)


def read_questions(path: str | Path, references: str | Path | None = None) -> list[BenchQuestion]:
    """Questions from JSON lines with question_id, category, turns and perhaps reference.

    Args:
      references: answers (FastChat's form) that serve as references.

    Raises:
      SooError: a file is missing or empty, or a line is malformed.
    """
    known = {} if references is None else read_answers(references)

    def question(row: dict) -> BenchQuestion:
        number, category = row.get("question_id"), row.get("category")
        if not isinstance(number, int) or not isinstance(category, str):
            raise ValueError('"question_id" must be a whole number and "category" a text')
        own = _texts(row, "reference") if row.get("reference") else known.get(number, ())
        return BenchQuestion(number, category, _texts(row, "turns"), own)

    return read_json_lines(path, question, _QUESTION)


def read_answers(path: str | Path) -> dict[int, tuple[str, ...]]:
    """The turns of every answer by the number of its question. Raises SooError as :func:`read_questions` does."""

    def answer(row: dict) -> tuple[int, tuple[str, ...]]:
        choices = row.get("choices")
        if not isinstance(row.get("question_id"), int) or not isinstance(choices, list) or not choices:
            raise ValueError('"question_id" must be a whole number and "choices" a list that is not empty')
        return row["question_id"], _texts(choices[0], "turns")

    return dict(read_json_lines(path, answer, _ANSWER))


def question_row(question: BenchQuestion) -> dict[str, Any]:
    """A question as FastChat writes it, with its reference if it has one."""
    row = {"question_id": question.id, "category": question.category, "turns": list(question.turns)}
    return row | ({"reference": list(question.reference)} if question.reference else {})


def answer_row(question: BenchQuestion, model: str, turns: Sequence[str], when: float) -> dict[str, Any]:
    """An answer as FastChat writes it."""
    return {
        "question_id": question.id,
        "answer_id": f"{model}-{question.id}",
        "model_id": model,
        "choices": [{"index": 0, "turns": list(turns)}],
        "tstamp": when,
    }


def rating(text: str) -> float:
    """The rating in a judge's answer, ``[[n]]`` from 1 to 10; ``UNRATED`` where there is none, or another number.

    The last one counts: judges repeat the form that was asked for before they fill it in.
    """
    found = _RATING.findall(text)
    value = float(found[-1]) if found else UNRATED
    return value if 1 <= value <= 10 else UNRATED


def score_rows(judgments: Iterable[Mapping[str, Any]], questions: Sequence[BenchQuestion]) -> list[dict[str, Any]]:
    """Tidy rows by model, category and turn: ``n`` rated, ``unrated``, mean ``score`` (None where none was rated)."""
    category = {question.id: question.category for question in questions}
    groups: dict[tuple[str, str, int], list[float]] = {}
    for row in judgments:
        if row["question_id"] in category:
            key = (row["model"], category[row["question_id"]], row["turn"])
            groups.setdefault(key, []).append(float(row["score"]))
    rows = []
    for (model, name, turn), scores in groups.items():
        rated = [score for score in scores if score != UNRATED]
        row = {"model": model, "category": name, "turn": turn, "n": len(rated), "unrated": len(scores) - len(rated)}
        rows.append({**row, "score": mean_sd(rated)[0] if rated else None})
    return rows


def _texts(row: Any, name: str) -> tuple[str, ...]:
    found = row.get(name) if isinstance(row, dict) else None
    if not isinstance(found, list) or not found or not all(isinstance(text, str) for text in found):
        raise ValueError(f'"{name}" must be a list of texts that is not empty')
    return tuple(found)
