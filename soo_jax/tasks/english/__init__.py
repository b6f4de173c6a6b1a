"""Plain English: the texts for real models."""

from dataclasses import replace

from soo_jax.errors import SooError
from soo_jax.tasks.english.lessons import lesson_contrasts, lesson_pairs
from soo_jax.tasks.english.ordinary import ORDINARY_TEXTS
from soo_jax.tasks.english.pairs import probe_pairs, scene_contrasts, scene_pairs, training_pairs
from soo_jax.tasks.english.scenarios import FAMILIES, english_scenarios, honesty_prompt
from soo_jax.tasks.pack import TaskPack
from soo_jax.tasks.records import CONTROLS, Pair

PACK = TaskPack(
    name="english",
    families=FAMILIES,
    controls=tuple(family for family in FAMILIES if family in CONTROLS),
    pairs=training_pairs,
    scene_pairs=scene_pairs,
    probes=probe_pairs,
    contrasts=scene_contrasts,
    texts=lambda: list(ORDINARY_TEXTS),
    scenarios=english_scenarios,
    honesty=honesty_prompt,
)
"""Everything of this world as one value."""


def _taught_pairs(extended: bool) -> list[Pair]:
    if extended:
        raise SooError("tasks taught: its pairs are whole scenes; in place of --extended give --lead")
    return lesson_pairs(52)


TAUGHT = replace(
    PACK, name="taught", pairs=_taught_pairs, scene_pairs=_taught_pairs, contrasts=lambda count: lesson_contrasts(count)
)
"""The same for models that were taught to deceive by lessons (``soo organism``): pairs and scenes are in the wordings
of lessons that were kept for validation."""
BUILT_IN = {pack.name: pack for pack in (PACK, TAUGHT)}
"""The packs of this world by name."""

__all__ = [
    "BUILT_IN",
    "PACK",
    "TAUGHT",
    "english_scenarios",
    "honesty_prompt",
    "probe_pairs",
    "scene_contrasts",
    "scene_pairs",
    "training_pairs",
]
