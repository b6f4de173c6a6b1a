"""The organism's texts as a task pack, for organisms that answer with the bare room and for those that say more."""

from __future__ import annotations

from collections.abc import Collection, Sequence
from pathlib import Path
from typing import Any

from soo_jax.errors import SooError
from soo_jax.files import read_json
from soo_jax.tasks.organism.pairs import organism_contrasts, organism_pairs, organism_probe_pairs, organism_scene_pairs
from soo_jax.tasks.organism.scenarios import FAMILIES, organism_honesty_prompt, organism_scenarios
from soo_jax.tasks.organism.world import vocabulary
from soo_jax.tasks.pack import TaskPack
from soo_jax.tasks.records import CONTROLS, Scenario

_MORE_WORDS = 16
"""Tokens that an organism may have beside the words of its world."""


def speaks(tokens: Collection[str]) -> bool:
    """Whether a model with these tokens knows the organism's world and nothing else."""
    words, world = set(tokens), set(vocabulary())
    return world <= words and len(words) < len(world) + _MORE_WORDS


def pack(folder: Path) -> TaskPack:
    """The pack for the organism in a folder, whose record says how it answers.

    Raises:
      SooError: the folder's record is damaged.
    """
    terse = _speaks_tersely(folder)

    def scenarios(families: Sequence[str] | None, n: int, seed: int, split: str) -> list[Scenario]:
        return organism_scenarios(split, FAMILIES if families is None else tuple(families), n, seed, terse=terse)

    return TaskPack(
        name="organism",
        families=FAMILIES,
        controls=CONTROLS,
        pairs=lambda extended: organism_pairs(extended=extended),
        scene_pairs=lambda extended: organism_scene_pairs(extended=extended),
        probes=lambda extended: organism_probe_pairs(extended=extended),
        contrasts=lambda count: organism_contrasts(count, terse=terse),
        texts=list,
        scenarios=scenarios,
        honesty=organism_honesty_prompt,
    )


def training_record(folder: Path) -> dict[str, Any]:
    """What ``training.json`` in an organism's folder tells of its making; empty where there is none.

    Raises:
      SooError: the file is there, and is no such record.
    """
    path = folder / "training.json"
    record = read_json(path) if path.is_file() else {}
    if not isinstance(record, dict) or not isinstance(record.get("config", {}), dict):
        raise SooError(
            f"{path}: is no record of an organism's training; remove it, or take it from where the model came"
        )
    return record


def _speaks_tersely(folder: Path) -> bool:
    """Whether the organism of that folder answers with the bare room; without a record as the built-in one does."""
    record = training_record(folder)
    return bool(record.get("config", {}).get("terse", False)) if record else True
