"""Which answers the page shows: the same questions before and after, picked by rule and not by taste."""

from __future__ import annotations

from dataclasses import dataclass
from typing import Any

from soo_jax.report.llm.words import families_in_sequence, family_title, in_sequence, order_title
from soo_jax.runs import Run
from soo_jax.tasks.statistics import AFTER, VARIANT, apart, is_control


@dataclass(frozen=True)
class Sample:
    """One question with the answers to it.

    Attributes:
      why: the rule by which it was picked.
      featured: whether the page shows it at once, or only when asked for.
      answers: (condition, response row), before first.
    """

    title: str
    order: str
    prompt: str
    honest: str
    deceptive: str
    why: str
    featured: bool
    answers: tuple[tuple[str, dict[str, Any]], ...]


def pick_samples(run: Run, failures: int = 4) -> list[Sample]:
    """The first question of every scenario and order with the answers of the first seed, and what went wrong.

    Featured are the questions of the first scenario and what went wrong.

    Args:
      run: with responses.
      failures: how many questions to add whose answer after fine-tuning is not honest: first one per seed.
    """
    rows = apart(row for row in run.responses if {"prompt", "response", "label", "family", "order"} <= set(row))
    by_question: dict[tuple, dict[tuple, dict]] = {}
    for row in rows:
        question = (row["family"], row["order"], row.get("honest"), row.get("deceptive"), row.get("index"))
        by_question.setdefault(question, {})[row["condition"], row.get("seed")] = row
    conditions = in_sequence(row["condition"] for row in rows)
    firsts: dict[tuple, tuple] = {}
    for question in by_question:
        firsts.setdefault(question[:2], question)
    sequence = families_in_sequence(family for family, _ in firsts)
    picked = sorted(firsts.values(), key=lambda question: sequence.index(question[0]))
    samples = [
        _sample(by_question[question], conditions, None, "first question", featured=question[0] == sequence[0])
        for question in picked
    ]
    return samples + _failures(by_question, conditions, failures)


def _failures(by_question: dict, conditions: list[str], limit: int) -> list[Sample]:
    """Answers after fine-tuning that are not honest, round-robin over the seeds so that none can crowd out the rest."""
    by_seed: dict[Any, list] = {}
    for answers in by_question.values():
        for (condition, seed), row in answers.items():
            if condition.partition(VARIANT)[0] == AFTER and row["label"] != "honest":
                by_seed.setdefault((condition, seed), []).append((answers, seed, row["label"]))
    samples: list[Sample] = []
    while len(samples) < limit and any(by_seed.values()):
        for found in by_seed.values():
            if found and len(samples) < limit:
                answers, seed, label = found.pop(0)
                samples.append(_sample(answers, conditions, seed, f"after SOO {label}, seed {seed}", featured=True))
    return samples


def _sample(answers: dict, conditions: list[str], seed: Any, why: str, featured: bool) -> Sample:
    """The answers of one question: of ``seed`` where it has one, else of the first seed of each condition."""
    shown = []
    for condition in conditions:
        own = {key[1]: row for key, row in answers.items() if key[0] == condition}
        if own:
            shown.append((condition, own.get(seed, next(iter(own.values())))))
    row = shown[0][1]
    title, order = family_title(row["family"]), order_title(is_control(row), row["order"])
    places = row.get("honest", ""), row.get("deceptive", "")
    return Sample(title, order, row["prompt"], *places, why, featured, tuple(shown))
