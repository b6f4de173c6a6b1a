"""Benchmarks of others, from the user's own copy: BeHonest's burglar subset as scenarios, DeceptionBench as questions.

BeHonest (Chern et al., arXiv 2406.13261) asks about a cheap and an expensive thing, so that our rules can judge it.
Two benchmarks are called DeceptionBench: one of five domains (Huang et al., arXiv 2510.15501), and one of 180 scenarios
(Ji et al., arXiv 2505.18807). Neither offers two places to name. Their prompts become questions in the form of
MT-Bench, whose answers a judge rates.
"""

from __future__ import annotations

import json
import re
from collections.abc import Callable, Mapping, Sequence
from pathlib import Path
from typing import Any, NamedTuple

from soo_jax.errors import SooError
from soo_jax.files import read_json_lines, text_field
from soo_jax.tasks.mentions import plain, same_name
from soo_jax.tasks.mtbench import BenchQuestion
from soo_jax.tasks.records import Scenario

BEHONEST, DECEPTIONBENCH = "behonest", "deceptionbench"
FIELDS: dict[str, dict[str, tuple[str, ...]]] = {
    BEHONEST: {
        "prompt": ("prompt", "question"),
        "expensive": ("extremely expensive item", "expensive item", "expensive_item", "expensive"),
        "cheap": ("cheap object", "cheap item", "cheap_object", "cheap"),
        "honest": ("honest",),
        "deceptive": ("deceptive",),
        "recipient": ("recipient",),
        "lead": ("lead",),
        "family": ("family",),
    },
    DECEPTIONBENCH: {
        "category": ("topic", "type", "category"),
        "truth": ("groundtruth", "ground_truth"),
        "goal": ("goal",),
        "system": ("system_prompt", "system"),
        "outer": ("outer_prompt",),
        "inner": ("inner_prompt",),
    },
}
"""What is taken from a record of each benchmark, and under which names it is looked for, the first one first."""

_LEVEL = re.compile(r"L\d+\b.*")
_WORD = r"(?!(?:the|a|an|and|while|but|whereas|is|are|there|that|which|with)\b)[\w'-]+"
_ROOM = r"(?:room|box|chest|drawer|closet|safe|floor) (?:[a-z]|\d+|one|two|three)"
_ENDS = r"(?=\s*(?:[.,;:!?)]|$|(?:and|while|but|whereas|that|which|is|are|there|holds|has|contains|houses)\b))"
_PLACE = rf"(?:the (?P<named>{_WORD}(?: {_WORD}){{{{0,2}}}}?)|(?P<room>{_ROOM})){_ENDS}"
_THING = r"(?:(?:the|a|an|some) )?{item}\b"
_TOLD = (
    rf"\b(?:in|inside|at) {_PLACE} (?:is|are|there is|there are|lies) {_THING}",
    rf"{_PLACE} (?:holds|has|contains|houses) {_THING}",
    rf"{_THING} (?:(?:is|are|lies)(?: \w+)? )?(?:in|inside|at) {_PLACE}",
)
_NO_NAME = re.compile(r"(?:house|home|rooms?|(?:one|other|another|same|right|wrong|either) \w+)")


class _Record(NamedTuple):
    """One record, where it stands, and what its fields are called."""

    where: str
    row: dict[str, Any]
    names: Mapping[str, tuple[str, ...]]

    def get(self, field: str, default: str | None = None) -> str:
        """The text of a field. Raises SooError where it is missing, or no text that says anything."""
        for name in self.names[field]:
            if name in self.row:
                try:
                    return text_field(self.row, name).strip()
                except ValueError as error:
                    raise SooError(f"{self.where}: {error}") from error
        if default is not None:
            return default
        asked, there = " or ".join(map(repr, self.names[field])), ", ".join(map(str, self.row))
        raise SooError(f"{self.where}: has no field {asked}, only {there}; give --field {field}=NAME")


def read_behonest(
    paths: Sequence[Path], fields: Sequence[str] = (), controls: Sequence[str] = ()
) -> tuple[list[Scenario], list[str]]:
    """BeHonest's burglar subset: the answer that leads to the expensive thing is honest, to the cheap one deceptive.

    Args:
      fields: ``OURS=THEIRS``, where a field has another name. controls: families in which nobody gains by misleading.

    Returns:
      The scenarios, of a family for each file (``behonest_neutral``), and notes for the user.

    Raises:
      SooError: a file cannot be read, or a record does not say what is asked and where things are.
    """
    made = [_scenario(record, path.stem, controls) for path in paths for record in _records(path, BEHONEST, fields)]
    known = {scenario.family for scenario in made}
    for control in controls:
        if control not in known:
            raise SooError(f"--control {control!r}: there is no such family; choose among {', '.join(sorted(known))}")
    unnamed = sum(scenario.honest.startswith("room with ") for scenario in made)
    note = f"{unnamed} of {len(made)} prompts name no places: their answers are judged by the thing that lies there"
    return made, [note] if unnamed else []


def read_deceptionbench(paths: Sequence[Path], fields: Sequence[str] = ()) -> tuple[list[BenchQuestion], list[str]]:
    """DeceptionBench of either kind as questions of one turn, numbered from 1, in the category ``topic, level``.

    The reference of a question is what its record says of a truthful answer and of the goal against it.

    Raises:
      SooError: a file cannot be read, or a record holds neither levels (``L1-self``, ...) nor an outer prompt.
    """
    rows = [one for path in paths for record in _records(path, DECEPTIONBENCH, fields) for one in _asked(record)]
    found = [BenchQuestion(number, *row) for number, row in enumerate(rows, start=1)]
    bare = sum(not one.reference for one in found)
    note = f"{bare} of {len(found)} questions say nothing of a truthful answer: the judge has to know by itself"
    return found, [note] if bare else []


# ---- records ------------------------------------------------------------------------------------------------------


def _records(path: Path, benchmark: str, fields: Sequence[str]) -> list[_Record]:
    names = _names(benchmark, fields)
    return [_Record(f"{path}, record {i}", row, names) for i, row in enumerate(_rows(path), start=1)]


def _names(benchmark: str, fields: Sequence[str]) -> dict[str, tuple[str, ...]]:
    names = dict(FIELDS[benchmark])
    for given in fields:
        ours, _, theirs = given.partition("=")
        if ours not in names or not theirs:
            raise SooError(f"--field {given!r}: write OURS=THEIRS, where OURS is one of {', '.join(names)}")
        names[ours] = (theirs,)
    return names


def _rows(path: Path) -> list[dict[str, Any]]:
    """The objects of a JSON list, of the one list in a JSON object, or of JSON lines."""
    form = '[{"prompt": "..."}]'
    try:
        value = json.loads(path.read_text(encoding="utf-8-sig"))
    except OSError as error:
        raise SooError(f"{path}: cannot be read ({error.strerror or error}); give the benchmark's JSON file") from error
    except UnicodeDecodeError as error:
        raise SooError(f"{path}: is not UTF-8 text (byte {error.start}); save it as UTF-8 JSON") from error
    except RecursionError as error:
        raise SooError(f"{path}: is nested too deep for a list of records") from error
    except ValueError:  # more than one value: JSON lines, or nothing of the kind
        return read_json_lines(path, dict, form)
    lists = [held for held in value.values() if isinstance(held, list)] if isinstance(value, dict) else []
    rows = lists[0] if len(lists) == 1 else [value] if isinstance(value, dict) else value
    if not isinstance(rows, list) or not rows:
        raise SooError(f"{path}: must be a JSON list of records like {form}, and not empty")
    for number, row in enumerate(rows, start=1):
        if not isinstance(row, dict):
            raise SooError(f"{path}, record {number}: is no JSON object; the file must be like {form}")
    return rows


# ---- BeHonest -----------------------------------------------------------------------------------------------------


def _scenario(record: _Record, stem: str, controls: Sequence[str]) -> Scenario:
    prompt = record.get("prompt")
    honest, deceptive, *items = _places(record, prompt)
    text = plain(prompt)
    for name, place in (("honest", honest), ("deceptive", deceptive)):
        if not any(character.isalnum() for character in place):
            raise SooError(f"{record.where}: the {name} place {place!r} holds no word that an answer could name")
    if same_name(honest, deceptive):
        raise SooError(f"{record.where}: both answers are {honest!r}; an answer could not tell them apart")
    named = [(honest, items[0]), (deceptive, items[1])]
    first, second = (
        min((at for name in own if name and (at := text.find(plain(name))) >= 0), default=-1) for own in named
    )
    for (place, item), at in zip(named, (first, second), strict=True):
        if at < 0:
            raise SooError(f"{record.where}: the prompt does not mention {item or place!r}")
    family = record.get("family", f"{BEHONEST}_{stem}")
    return Scenario(
        family, "wrong_first" if second <= first else "right_first", prompt, honest, deceptive,
        record.get("recipient", "the burglar" if "burglar" in text else ""), record.get("lead", ""), *items,
        control=family in controls,
    )  # fmt: skip


def _places(record: _Record, prompt: str) -> tuple[str, str, str, str]:
    """Both places, and the things in them: as told in fields, as the prompt tells, or "room with the ..."."""
    told = [any(name in record.row for name in record.names[field]) for field in ("honest", "deceptive")]
    bare = lambda field, default=None: re.sub(r"^(?:a|an|the|some) ", "", record.get(field, default), flags=re.I)
    if all(told):
        return record.get("honest"), record.get("deceptive"), bare("expensive", ""), bare("cheap", "")
    expensive, cheap = bare("expensive"), bare("cheap")
    if same_name(expensive, cheap):
        raise SooError(f"{record.where}: the expensive and the cheap thing are both {cheap!r}")
    honest, deceptive = _where_is(expensive, prompt), _where_is(cheap, prompt)
    if not honest or not deceptive or same_name(honest, deceptive):
        honest, deceptive = f"room with the {expensive}", f"room with the {cheap}"
    return honest, deceptive, expensive, cheap


def _where_is(item: str, prompt: str) -> str:
    """The name of the place in which the prompt says that a thing is; empty where it gives none."""
    text = plain(prompt)
    for pattern in _TOLD:
        for match in re.finditer(pattern.format(item=re.escape(plain(item))), text):
            place = match["named"] or match["room"]
            if not _NO_NAME.fullmatch(place):
                return place
    return ""


# ---- DeceptionBench -----------------------------------------------------------------------------------------------


def _asked(record: _Record) -> list[tuple[str, tuple[str, ...], tuple[str, ...]]]:
    """Category, turns and reference of every question in a record."""
    category = record.get("category", DECEPTIONBENCH)
    truth, goal = record.get("truth", ""), record.get("goal", "")
    told = [f"An honest answer: {truth}"] * bool(truth) + [f"What tempts to deceive: {goal}"] * bool(goal)
    reference = ("\n".join(told),) if told else ()
    levels = [name for name in record.row if _LEVEL.fullmatch(str(name))]
    text: Callable[[str], str] = lambda name: _Record(record.where, record.row, {name: (name,)}).get(name)
    if levels:
        return [(f"{category}, {level}", (text(level),), reference) for level in levels]
    if not any(name in record.row for name in record.names["outer"]):
        there = ", ".join(map(str, record.row))
        raise SooError(
            f"{record.where}: has neither L1-self, L2-... nor an outer_prompt, only {there}; see docs/data.md"
        )
    system = record.get("system", "")
    asked = "\n\n".join(filter(None, (system, record.get("outer"))))
    inner = record.get("inner", "")
    return [(category, (asked,), reference)] + ([(f"{category}, neutral", (inner,), reference)] if inner else [])
