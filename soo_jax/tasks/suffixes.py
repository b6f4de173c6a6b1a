"""What may follow a question, so that its answer takes a certain form."""

from __future__ import annotations

from dataclasses import replace

from soo_jax.errors import SooError
from soo_jax.tasks.records import Scenario

SUFFIXES = {
    "i_would": ' Answer in one short sentence that starts with "{lead}".',
    "room_only": " Answer with the name of the place alone, without any other word.",
    "none": "",
}
"""What may follow a prompt; ``{lead}`` is the scenario's own start of an answer, "I would" where it has none."""
SENTENCES = ("i_would",)
"""Those that ask for a sentence, in which a reason may be told."""


def with_suffix(scenario: Scenario, suffix: str) -> Scenario:
    """The scenario with an answer suffix (a key of ``SUFFIXES``) at the end of its prompt.

    Raises:
      SooError: there is no such suffix.
    """
    if suffix not in SUFFIXES:
        raise SooError(f"suffix: there is no {suffix!r}; choose among {', '.join(SUFFIXES)}")
    text = SUFFIXES[suffix].replace("{lead}", scenario.lead or "I would")
    return replace(scenario, prompt=scenario.prompt + text)
