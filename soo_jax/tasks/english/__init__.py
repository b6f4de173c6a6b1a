"""Plain English: the texts for real models."""

from soo_jax.tasks.english.ordinary import ORDINARY_TEXTS
from soo_jax.tasks.english.pairs import probe_pairs, scene_contrasts, scene_pairs, training_pairs
from soo_jax.tasks.english.scenarios import FAMILIES, english_scenarios, honesty_prompt
from soo_jax.tasks.pack import TaskPack
from soo_jax.tasks.records import CONTROLS

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

__all__ = [
    "PACK",
    "english_scenarios",
    "honesty_prompt",
    "probe_pairs",
    "scene_contrasts",
    "scene_pairs",
    "training_pairs",
]
