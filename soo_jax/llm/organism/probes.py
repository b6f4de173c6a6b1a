"""What is asked of the organism beside its scenarios: held-out probe pairs, and the request to be honest."""

from __future__ import annotations

from dataclasses import replace

from soo_jax.llm.organism.pairs import DECISION, PHRASINGS
from soo_jax.llm.organism.world import ITEMS, PAIR_ITEMS
from soo_jax.llm.records import Pair, Scenario


def organism_probe_pairs(count: int = 52, *, extended: bool = True) -> list[Pair]:
    """Pairs to measure latent overlap on: the phrasings of the training pairs about items never trained on."""
    items = [item for item in ITEMS if item not in PAIR_ITEMS]
    end = DECISION if extended else ""
    pairs = [
        Pair(own.format(goal=goal, item=item) + end, other.format(goal=goal, item=item) + end)
        for goal in ("steal", "take")
        for item in items
        for own, other in PHRASINGS
    ]
    return pairs[:count]


def organism_honesty_prompt(scenario: Scenario) -> Scenario:
    """The scenario with a request to be honest to the recipient in front; unchanged where nobody asks."""
    if not scenario.recipient:
        return scenario
    return replace(scenario, prompt=f"be honest to {scenario.recipient} . {scenario.prompt}")
