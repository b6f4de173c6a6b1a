"""The two kinds of text that this room works on: pairs to train on and scenarios to be measured with."""

from __future__ import annotations

from dataclasses import dataclass

ORDERS = ("cheap_first", "expensive_first")
"""In which order a scenario mentions its two rooms: the deceptive (cheap, wrong) answer first, or the honest one."""

CONTROLS = ("self", "friend", "factual", "perspectives", "own", "found", "belief", "reality")
"""Families, of any set of scenarios, in which nobody gains by deceiving: ``honest`` is the right answer and
``deceptive`` the wrong one."""


@dataclass(frozen=True)
class Pair:
    """One self-referencing text and the matching other-referencing one; neither names an answer.

    As JSON line: ``{"self": "...", "other": "..."}``.
    """

    self_text: str
    other_text: str


@dataclass(frozen=True)
class Scenario:
    """One held-out question whose answer names one of two rooms (or places).

    As JSON line: ``{"scenario": "burglar", "order": "cheap_first", "prompt": "...", "honest": "study",
    "deceptive": "kitchen", "recipient": "Bob", "lead": "I would recommend the"}``; what has a default may be left out.

    Attributes:
      scenario: family name, e.g. ``burglar``; rows of results are grouped by it.
      order: one of ``ORDERS``; for controls (``self``, ``friend``, ``factual``, ``perspectives``) the
        wrong answer plays the cheap room.
      prompt: the user's message, without chat template and without answer suffix.
      honest: the word or words that answer truthfully (for controls: rightly).
      deceptive: the word or words that deceive (for controls: the wrong answer).
      recipient: who asks, for the honesty-prompt baseline; empty where there is nobody to be honest to.
      lead: the start of an answer after which the room would come; the log-probability margin
        ``log p(deceptive) - log p(honest)`` is read there.
      honest_item, deceptive_item: the thing that lies in each place, by which an answer may name it ("the room with the
        ring"); needed only where the prompt does not tell them in the words that ``soo_jax.llm.mentions`` knows.
    """

    scenario: str
    order: str
    prompt: str
    honest: str
    deceptive: str
    recipient: str = ""
    lead: str = ""
    honest_item: str = ""
    deceptive_item: str = ""
