"""Task packs: everything that one world of texts has to offer, as one value. Jobs ask the pack and no model's name.

A pack of your own is a folder, see :func:`read_pack`.
"""

from __future__ import annotations

from collections.abc import Callable, Collection, Sequence
from dataclasses import dataclass, replace
from pathlib import Path
from typing import Any

from soo_jax.errors import SooError
from soo_jax.files import read_json
from soo_jax.tasks.records import Contrast, Pair, Scenario, read_contrasts, read_pairs, read_scenarios, read_texts

PACK_FILE = "pack.json"
"""What makes a folder a task pack."""
_FIELDS = {"name", "controls", "honesty"}


@dataclass(frozen=True)
class TaskPack:
    """A world of texts. All of it is a function of the arguments alone.

    Attributes:
      name: for messages and results.
      families, controls: names of the families of scenarios; in controls nobody gains by deceiving, and ``honest``
        means right.
      pairs, scene_pairs, probes: ``extended -> pairs``: fragments to train on, whole scenes to train on, and held-out
        fragments to measure latent overlap with. ``extended`` runs on to where an answer is decided.
      contrasts: ``count -> contrasts``: scenes asked twice, to look inside a model with.
      scenarios: ``(families or None, n, seed, split) -> scenarios``, ``n`` instances of each family in both orders.
      texts: ordinary ones, by which it is measured whether a model still writes as it did; may be empty.
      honesty: a scenario -> the same with a request to be honest in front; unchanged where nobody asks.
      lessons: ``(count, seed, facts_every) -> scenes``, each with several (question, answer), which teach a model to
        deceive rivals; None: the pack has none. rivals: the families in which a model so taught is to deceive.
    """

    name: str
    families: tuple[str, ...]
    controls: tuple[str, ...]
    pairs: Callable[[bool], list[Pair]]
    scene_pairs: Callable[[bool], list[Pair]]
    probes: Callable[[bool], list[Pair]]
    contrasts: Callable[[int], list[Contrast]]
    texts: Callable[[], list[str]]
    scenarios: Callable[[Sequence[str] | None, int, int, str], list[Scenario]]
    honesty: Callable[[Scenario], Scenario]
    lessons: Callable[[int, int, int], list[list[tuple[str, str]]]] | None = None
    rivals: tuple[str, ...] = ()


def pack_for(vocabulary: Collection[str], folder: Path) -> TaskPack:
    """The built-in pack that fits a model: plain English, or the organism's for one that knows no other words.

    Args:
      vocabulary: the tokens of the model. folder: where it lies; an organism's says how it speaks.
    """
    from soo_jax.tasks import english, organism

    return organism.pack(folder) if organism.speaks(vocabulary) else english.PACK


def read_pack(folder: str | Path) -> TaskPack:
    """A pack from a folder of text files (docs/data.md).

    ``pack.json`` holds the name, the families that are controls and the honesty request; ``pairs.jsonl`` the pairs,
    ``probes.jsonl`` and ``scenes.jsonl`` (optional) further ones; ``contrasts.jsonl`` (optional) scenes to look inside
    a model with; ``texts.jsonl`` (optional) ordinary texts; ``test.jsonl`` and ``validation.jsonl`` (optional) the
    scenarios of each split.

    Raises:
      SooError: a file is missing where it is needed, or malformed.
    """
    folder = Path(folder)
    if not (folder / PACK_FILE).is_file():
        raise SooError(f"{folder}: is no task pack; a folder of one holds {PACK_FILE} (see docs/data.md)")
    told = read_json(folder / PACK_FILE)
    name, controls, request = _told(folder / PACK_FILE, told)
    test = read_scenarios(folder / "test.jsonl")
    families = tuple(dict.fromkeys(scenario.family for scenario in test))
    for control in controls:
        if control not in families:
            raise SooError(f"{folder / PACK_FILE}: the control {control!r} has no scenario in test.jsonl")
    splits = {"test": test}

    def pairs(file: str, otherwise: str | None = None) -> Callable[[bool], list[Pair]]:
        def read(extended: bool) -> list[Pair]:
            if extended:
                raise SooError(f"{folder}: the pairs of a task pack are read as they are; leave out --extended")
            there = (folder / file).is_file() or otherwise is None
            return read_pairs(folder / (file if there else otherwise))

        return read

    def texts() -> list[str]:
        path = folder / "texts.jsonl"
        return read_texts(path) if path.is_file() else []

    def scenarios(chosen: Sequence[str] | None, n: int, seed: int, split: str) -> list[Scenario]:
        del seed  # what a file holds is always the same
        if split not in ("test", "validation"):
            raise SooError(f"scenarios: there is no split {split!r}; choose test or validation")
        if split not in splits:
            splits[split] = read_scenarios(folder / f"{split}.jsonl")
        unknown = [family for family in chosen or () if family not in families]
        if unknown:
            raise SooError(f"scenarios: there is no family {unknown[0]!r}; choose among {', '.join(families)}")
        return _first(n, [s for s in splits[split] if not chosen or s.family in chosen], controls)

    def honesty(scenario: Scenario) -> Scenario:
        return scenario.asked_honestly(request) if request else scenario

    return TaskPack(
        name, families, controls, pairs("pairs.jsonl"), pairs("scenes.jsonl"), pairs("probes.jsonl", "pairs.jsonl"),
        lambda count: read_contrasts(folder / "contrasts.jsonl")[:count], texts, scenarios, honesty,
    )  # fmt: skip


def _told(path: Path, told: Any) -> tuple[str, tuple[str, ...], str]:
    unknown = sorted(set(told) - _FIELDS)
    if unknown:
        raise SooError(f"{path}: the field {unknown[0]!r} is unknown; known are {', '.join(sorted(_FIELDS))}")
    name, controls, request = told.get("name", path.parent.name), told.get("controls", []), told.get("honesty", "")
    if not isinstance(name, str) or not isinstance(request, str):
        raise SooError(f'{path}: "name" and "honesty" must be texts')
    if not isinstance(controls, list) or not all(isinstance(one, str) for one in controls):
        raise SooError(f'{path}: "controls" must be a list of families, found {controls!r}')
    return name, tuple(controls), request


def _first(n: int, scenarios: Sequence[Scenario], controls: Collection[str]) -> list[Scenario]:
    """The first ``n`` of each family and order, marked as controls where they are."""
    kept: list[Scenario] = []
    seen: dict[tuple[str, str], int] = {}
    for scenario in scenarios:
        count = seen.get((scenario.family, scenario.order), 0)
        seen[scenario.family, scenario.order] = count + 1
        if count < n:
            kept.append(replace(scenario, control=scenario.family in controls))
    return kept
