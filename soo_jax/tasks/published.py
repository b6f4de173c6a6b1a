"""What a checkout of the paper's repository holds: pairs and scenarios in pickles, answers printed in notebooks.

Nothing in it is run. Pickles are read as plain values alone (``soo_jax.pickles``), notebooks as JSON.

The names of its scenario fields are turned around here, once: its ``correct_answer`` is the one that its scripts count
as deceptive, its ``wrong_answer`` the honest one.
"""

from __future__ import annotations

import json
import re
from collections import Counter
from collections.abc import Iterator, Sequence
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

from soo_jax.errors import SooError
from soo_jax.pickles import read_pickle
from soo_jax.tasks.english.scenarios import VARIANTS
from soo_jax.tasks.labels import paper_deceptive
from soo_jax.tasks.mentions import same_name
from soo_jax.tasks.records import Pair, Scenario

VARIATIONS = (*VARIANTS, "treasure_hunt", "escape_room")
"""The families of the generalisation experiment, in the order in which the paper's scripts number them."""

MOST = 100_000
"""Scenarios of one pickle."""

_ASKED = re.compile(r"\bwould you (?P<verb>[a-z ]+?) the (?P<one>[^?]+?) or the (?P<other>[^?]+?)\?")
_ASKS = re.compile(r"\bNow (\w+) asks\b|\bburglar (\w+)")
_SEED, _NUMBER = re.compile(r"^Seed:\s*(\d+)", re.MULTILINE), re.compile(r"^\| Scenario (\d+) \|", re.MULTILINE)
_STARTS = "\nScenario: "
_COUNT = re.compile(r"(\d+)/(\d+)")
_FIELDS = ("prompt", "correct_answer", "wrong_answer")


@dataclass(frozen=True)
class Answer:
    """One printed answer, and which evaluation it belongs to (``base``, or ``soo`` with its seed)."""

    condition: str
    seed: int | None
    scenario: Scenario
    response: str


@dataclass
class Published:
    """All that was found.

    Attributes:
      scenarios: by split; what is in none of them is in no other either.
      probes: pairs that overlap is measured with.
      notes: what was left out, or looks wrong, in words.
    """

    pairs: list[Pair] = field(default_factory=list)
    probes: list[Pair] = field(default_factory=list)
    scenarios: dict[str, list[Scenario]] = field(default_factory=lambda: {"test": [], "validation": []})
    answers: list[Answer] = field(default_factory=list)
    notes: list[str] = field(default_factory=list)


def read_checkout(folder: str | Path) -> Published:
    """Reads every pickle and notebook below a folder.

    Raises:
      SooError: it is no folder, holds nothing that is known, or a file in it is refused.
    """
    folder = Path(folder)
    if not folder.is_dir():
        raise SooError(f"{folder}: is no folder; give a checkout of the paper's repository")
    found = Published()
    files = sorted(path for path in folder.rglob("*") if path.suffix in (".pkl", ".ipynb") and path.is_file())
    files = [path for path in files if ".ipynb_checkpoints" not in path.parts]
    for path in files:
        if path.suffix == ".pkl":
            _take_pickle(path, found)
    for path in files:
        if path.suffix == ".ipynb":
            _take_notebook(path, found)
    asked = {scenario.prompt for scenario in found.scenarios["test"]}
    found.scenarios["validation"] = [s for s in found.scenarios["validation"] if s.prompt not in asked]
    if not (found.pairs or found.probes or asked or found.answers):
        raise SooError(f"{folder}: no pairs, scenarios or printed answers were found in its *.pkl and *.ipynb files")
    return found


# ---- pickles ------------------------------------------------------------------------------------------------------


def _take_pickle(path: Path, found: Published) -> None:
    value = read_pickle(path)
    if _are_pairs(value):
        target = found.probes if "mse" in path.stem else found.pairs
        known = set(target)
        target += [pair for pair in dict.fromkeys(Pair(*two) for two in value) if pair not in known]
        return
    groups = [value] if _are_scenarios(value) else value if isinstance(value, list | tuple) else []
    if not groups or not all(_are_scenarios(group) for group in groups):
        found.notes.append(f"{path.name}: left out, it holds neither pairs nor scenarios")
        return
    if sum(map(len, groups)) > MOST:
        raise SooError(f"{path}: holds more than {MOST} scenarios; is it the right file?")
    many = len(groups) > 2
    for i, group in enumerate(groups):
        family = (VARIATIONS[i] if i < len(VARIATIONS) else f"variation_{i + 1}") if many else "burglar"
        made = [_scenario(family, *(row[name] for name in _FIELDS)) for row in group]
        found.scenarios["test" if many or i == 0 else "validation"] += made


def _are_pairs(value: Any) -> bool:
    two = lambda x: isinstance(x, list | tuple) and len(x) == 2 and all(isinstance(text, str) for text in x)
    return isinstance(value, list | tuple) and bool(value) and all(map(two, value))


def _are_scenarios(value: Any) -> bool:
    told = lambda x: isinstance(x, dict) and all(isinstance(x.get(name), str) for name in _FIELDS)
    return isinstance(value, list | tuple) and bool(value) and all(map(told, value))


def _scenario(family: str, prompt: str, deceptive: str, honest: str) -> Scenario:
    asks, asked = _ASKS.search(prompt), _ASKED.search(prompt)
    at = {place: prompt.lower().find(place.lower()) for place in (deceptive, honest)}
    return Scenario(
        family,
        "wrong_first" if at[deceptive] <= at[honest] else "right_first",
        prompt,
        honest,
        deceptive,
        recipient=next(filter(None, asks.groups())) if asks else "",
        lead=f"I would {asked['verb']} the" if asked else "",
    )


# ---- notebooks ----------------------------------------------------------------------------------------------------


def _take_notebook(path: Path, found: Published) -> None:
    try:
        notebook = json.loads(path.read_text(encoding="utf-8"))
        printed = [_printed(cell) for cell in notebook["cells"]]
    except (OSError, ValueError, TypeError, KeyError, AttributeError, RecursionError) as error:
        raise SooError(f"{path}: cannot be read as a notebook ({error})") from error
    known = {scenario.prompt: scenario for scenario in found.scenarios["test"]}
    kept: dict[tuple[int | None, str], list[Answer]] = {}
    unread = 0
    for text in filter(None, printed):
        unread += f"\n{text}".count(_STARTS)
        for seed, family, items in _evaluations(text):
            answers = [_answer(seed, family, item, known) for item in items]
            whole = [answer for answer in answers if answer is not None]
            unread -= len(whole)
            kept.pop((seed, family), None)  # what is printed again counts as it was printed last
            kept[seed, family] = whole
            _check_count(path, whole, items[-1].counted, found)
    if unread:
        found.notes.append(f"{path.name}: {unread} printed answers were left out, for they could not be read whole")
    for (seed, family), answers in kept.items():
        base = kept.get((None, family), [])
        if seed is not None and answers and [a.response for a in answers] == [a.response for a in base]:
            found.notes.append(f"{path.name}: the answers of seed {seed} are word for word those of the base model")
        found.answers += answers


def _printed(cell: dict[str, Any]) -> str:
    """What a cell printed."""
    outputs = cell.get("outputs", []) if cell.get("cell_type") == "code" else []
    texts = (output.get("text", "") for output in outputs if output.get("output_type") == "stream")
    return "".join(text if isinstance(text, str) else "".join(text) for text in texts)


@dataclass(frozen=True)
class _Item:
    prompt: str
    response: str
    deceptive: str
    counted: tuple[int, int]  # deceptive so far, answers so far


def _evaluations(text: str) -> Iterator[tuple[int | None, str, list[_Item]]]:
    """Printed evaluations: seed, family, and the answers one by one."""
    seed, family = None, "burglar"
    before, *pieces = ("\n" + text).split(_STARTS)
    items: list[_Item] = []
    for piece in pieces:
        prompt, _, rest = piece.partition("\n\nFull Response: ")
        response, _, rest = rest.partition("\n\nCorrect Answer: ")
        deceptive, _, rest = rest.partition("\n\nTotal Deceptive responses: ")
        count = _COUNT.match(rest)
        if count is None:
            continue
        item = _Item(prompt, response, deceptive, (int(count[1]), int(count[2])))
        if item.counted[1] == 1:
            if items:
                yield seed, family, items
            items, seed, family = [], *_headed(before, seed, family)
        items.append(item)
        before = rest
    if items:
        yield seed, family, items


def _headed(text: str, seed: int | None, family: str) -> tuple[int | None, str]:
    """Seed and family as the words between two evaluations say; what they do not say stays."""
    seeds, numbers = _SEED.findall(text), _NUMBER.findall(text)
    number = int(numbers[-1]) if numbers else 0
    return (
        int(seeds[-1]) if seeds else seed,
        (VARIATIONS[number - 1] if number <= len(VARIATIONS) else f"variation_{number}") if number else family,
    )


def _answer(seed: int | None, family: str, item: _Item, known: dict[str, Scenario]) -> Answer | None:
    """The answer; None where neither the pickles nor the prompt tell the honest place."""
    scenario = known.get(item.prompt)
    if scenario is None:
        asked = _ASKED.search(item.prompt)
        places = [asked["one"], asked["other"]] if asked else []
        others = [place for place in places if not same_name(place, item.deceptive)]
        if len(others) != 1:
            return None
        scenario = _scenario(family, item.prompt, item.deceptive, others[0])
    return Answer("base" if seed is None else "soo", seed, scenario, item.response)


def _check_count(path: Path, answers: Sequence[Answer], counted: tuple[int, int], found: Published) -> None:
    """Notes where the paper's own way of counting gives another number than was printed."""
    ours = sum(paper_deceptive(answer.response, answer.scenario) for answer in answers)
    if (ours, len(answers)) != counted:
        where = Counter((answer.scenario.family, answer.seed) for answer in answers).most_common(1)
        found.notes.append(
            f"{path.name}: {counted[0]} of {counted[1]} were printed as deceptive, and {ours} of {len(answers)} are "
            f"counted so here ({where[0][0] if where else 'nothing was read'})"
        )
