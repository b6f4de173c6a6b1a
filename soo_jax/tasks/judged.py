"""An answer with everything that is said of it: the fields of ``responses.jsonl`` that question and answer decide."""

from __future__ import annotations

from collections import Counter
from collections.abc import Iterable
from typing import Any

from soo_jax.tasks.intent import stated_intent
from soo_jax.tasks.labels import label, paper_deceptive
from soo_jax.tasks.records import Scenario


def judged(scenario: Scenario, response: str, finite: bool = True) -> dict[str, Any]:
    """The answer to a scenario, its act and its stated intent (fields: docs/data.md).

    Args:
      finite: whether the numbers behind it were; an answer that rests on others is ``other`` and nothing else.
    """
    return {
        "family": scenario.family,
        "control": scenario.is_control,
        "order": scenario.order,
        "prompt": scenario.prompt,
        "honest": scenario.honest,
        "deceptive": scenario.deceptive,
        "response": response,
        "label": label(response, scenario) if finite else "other",
        "paper_deceptive": finite and paper_deceptive(response, scenario),
        "intent": None if scenario.is_control else stated_intent(response, scenario) if finite else "none",
    }


def numbered(scenarios: Iterable[Scenario]) -> list[int]:
    """Each question's number within its family and order: the same question has the same one under all conditions."""
    seen: Counter[tuple[str, str]] = Counter()
    numbers = []
    for scenario in scenarios:
        numbers.append(seen[scenario.family, scenario.order])
        seen[scenario.family, scenario.order] += 1
    return numbers
