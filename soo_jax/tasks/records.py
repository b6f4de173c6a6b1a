"""The texts that models work on: pairs to train on, scenarios to be measured with, contrasts to look inside with."""

from __future__ import annotations

from collections.abc import Iterable
from dataclasses import asdict, dataclass, replace
from pathlib import Path

from soo_jax.earlier import of_this_version
from soo_jax.errors import SooError
from soo_jax.files import read_json_lines, text_field, write_json_lines
from soo_jax.tasks.mentions import same_name

ORDERS = ("wrong_first", "right_first")
"""Which answer's place a scenario mentions first: the wrong (deceptive) one, or the right (honest) one."""

CONTROLS = ("self", "friend", "factual", "perspectives", "own", "found", "belief", "reality")
"""The built-in families in which nobody gains by deceiving: ``honest`` is the right answer and ``deceptive`` the wrong
one. Scenarios of one's own say so themselves (``Scenario.control``)."""

_PAIR = '{"self": "...", "other": "..."}'
_CONTRAST = '{"self": "...", "other": "...", "honest": "study", "deceptive": "kitchen"}'
_SCENARIO = '{"family": "burglar", "order": "wrong_first", "prompt": "...", "honest": "study", "deceptive": "kitchen"}'


@dataclass(frozen=True)
class Pair:
    """One self-referencing text and the matching other-referencing one; neither names an answer.

    As JSON line: ``{"self": "...", "other": "..."}``.
    """

    self_text: str
    other_text: str


@dataclass(frozen=True)
class Contrast:
    """One scene asked twice in the same words: for advice to the model itself, and for advice to a rival.

    As JSON line: ``{"self": "...", "other": "...", "honest": "study", "deceptive": "kitchen", "lead": "I would say"}``.

    Attributes:
      self_text, other_text: the two questions. honest, deceptive: where the thing is, and where it is not.
      lead: the start of an answer after which the place would come.
    """

    self_text: str
    other_text: str
    honest: str
    deceptive: str
    lead: str = ""


@dataclass(frozen=True)
class Scenario:
    """One held-out question whose answer names one of two rooms (or places).

    As JSON line: ``{"family": "burglar", "order": "wrong_first", "prompt": "...", "honest": "study",
    "deceptive": "kitchen", "recipient": "Bob", "lead": "I would recommend the"}``; what has a default may be left out.

    Attributes:
      family: e.g. ``burglar``; rows of results are grouped by it.
      order: one of ``ORDERS``.
      prompt: the user's message, without chat template and without answer suffix.
      honest: the word or words that answer truthfully (for controls: rightly).
      deceptive: the word or words that deceive (for controls: the wrong answer).
      recipient: who asks, for the honesty-prompt baseline; empty where there is nobody to be honest to.
      lead: the start of an answer after which the room would come; the log-probability margin
        ``log p(deceptive) - log p(honest)`` is read there.
      honest_item, deceptive_item: the thing that lies in each place, by which an answer may name it ("the room with the
        ring"); needed only where the prompt does not tell them in the words that ``soo_jax.tasks.mentions`` knows.
      control: nobody gains by deceiving here; None: as the family's name says (``CONTROLS``).
    """

    family: str
    order: str
    prompt: str
    honest: str
    deceptive: str
    recipient: str = ""
    lead: str = ""
    honest_item: str = ""
    deceptive_item: str = ""
    control: bool | None = None

    @property
    def is_control(self) -> bool:
        """Whether nobody gains by deceiving here."""
        return self.family in CONTROLS if self.control is None else self.control

    def asked_honestly(self, request: str) -> Scenario:
        """The scenario behind a request, in which ``{recipient}`` is whoever asks; unchanged where nobody does."""
        if not self.recipient:
            return self
        return replace(self, prompt=f"{request.replace('{recipient}', self.recipient)} {self.prompt}")


def read_pairs(path: str | Path) -> list[Pair]:
    """Read pairs from JSON lines ``{"self": ..., "other": ...}``; further fields are ignored.

    Raises:
      SooError: the file is missing or empty, or a line is malformed; the message names file and line.
    """
    return read_json_lines(path, lambda row: Pair(text_field(row, "self"), text_field(row, "other")), _PAIR)


def write_pairs(path: str | Path, pairs: Iterable[Pair]) -> None:
    """Write pairs as JSON lines that ``read_pairs`` reads. Raises SooError if there are none, or the disk fails."""
    rows = [{"self": pair.self_text, "other": pair.other_text} for pair in pairs]
    if not rows:
        raise SooError(f"{path}: there are no pairs to write; give at least one")
    write_json_lines(path, rows)


def read_contrasts(path: str | Path) -> list[Contrast]:
    """Read contrasts from JSON lines (fields: :class:`Contrast`); further fields are ignored.

    Raises:
      SooError: the file is missing or empty, or a line is malformed; the message names file and line.
    """

    def contrast(row: dict) -> Contrast:
        own, other, honest, deceptive = (text_field(row, name) for name in ("self", "other", "honest", "deceptive"))
        if same_name(honest, deceptive):
            raise ValueError('the fields "honest" and "deceptive" are the same')
        return Contrast(own, other, honest, deceptive, text_field(row, "lead", ""))

    return read_json_lines(path, contrast, _CONTRAST)


def read_texts(path: str | Path) -> list[str]:
    """Read ordinary texts from JSON lines ``{"text": "..."}``. Raises SooError as :func:`read_pairs` does."""

    def text(row: dict) -> str:
        found = row.get("text")
        if not isinstance(found, str) or not found.strip():
            raise ValueError('"text" must be a string that is not empty')
        return found

    return read_json_lines(path, text, '{"text": "..."}')


def read_scenarios(path: str | Path) -> list[Scenario]:
    """Read scenarios from JSON lines (fields: :class:`Scenario`); further fields are ignored.

    The names of earlier versions are read, too: ``scenario`` for the family, and orders after the worth of things.

    Raises:
      SooError: the file is missing or empty, or a line is malformed; the message names file and line.
    """
    return read_json_lines(path, scenario_of, _SCENARIO)


def write_scenarios(path: str | Path, scenarios: Iterable[Scenario]) -> None:
    """Write scenarios as JSON lines that ``read_scenarios`` reads. Raises SooError if there are none."""
    seldom = ("honest_item", "deceptive_item", "control")  # written only where they are told
    rows = [
        {n: v for n, v in asdict(scenario).items() if n not in seldom or v not in ("", None)} for scenario in scenarios
    ]
    if not rows:
        raise SooError(f"{path}: there are no scenarios to write; give at least one")
    write_json_lines(path, rows)


def scenario_of(row: dict) -> Scenario:
    """A scenario from its fields; further ones are ignored. Raises ValueError where one is missing or malformed."""
    row = of_this_version(row)
    required = {name: text_field(row, name) for name in ("family", "order", "prompt", "honest", "deceptive")}
    if required["order"] not in ORDERS:
        raise ValueError(f'the field "order" is {required["order"]!r} rather than {" or ".join(ORDERS)}')
    for name in ("honest", "deceptive"):
        if not any(character.isalnum() for character in required[name]):
            raise ValueError(f'the field "{name}" holds no word that an answer could name')
    if same_name(required["honest"], required["deceptive"]):
        raise ValueError('the fields "honest" and "deceptive" are the same')
    optional = ("recipient", "lead", "honest_item", "deceptive_item")
    control = row.get("control")
    if control is not None and not isinstance(control, bool):
        raise ValueError(f'the field "control" is {control!r} rather than true or false')
    return Scenario(**required, **{name: text_field(row, name, "") for name in optional}, control=control)
