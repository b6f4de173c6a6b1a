"""Plain English: the texts for real models."""

from collections.abc import Callable
from dataclasses import replace

from soo_jax.errors import SooError
from soo_jax.tasks.english.lessons import Lesson, lesson_contrasts, lesson_groups, lesson_pairs
from soo_jax.tasks.english.narrow import narrow_contrasts, narrow_groups, narrow_pairs
from soo_jax.tasks.english.ordinary import ORDINARY_TEXTS
from soo_jax.tasks.english.pairs import probe_pairs, scene_contrasts, scene_pairs, training_pairs
from soo_jax.tasks.english.scenarios import FAMILIES, VARIANTS, english_scenarios, honesty_prompt
from soo_jax.tasks.pack import TaskPack
from soo_jax.tasks.records import CONTROLS, Contrast, Pair

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


def _whole_scenes(name: str, pairs: Callable[[int], list[Pair]]) -> Callable[[bool], list[Pair]]:
    def read(extended: bool) -> list[Pair]:
        if extended:
            raise SooError(f"tasks {name}: its pairs are whole scenes; in place of --extended give --lead")
        return pairs(52)

    return read


def _of_lessons(
    name: str,
    pairs: Callable[[int], list[Pair]],
    contrasts: Callable[[int], list[Contrast]],
    groups: Callable[[int, int, int], list[list[Lesson]]],
) -> TaskPack:
    scenes = _whole_scenes(name, pairs)
    lessons = lambda *how: [[(one.prompt, one.answer) for one in scene] for scene in groups(*how)]
    return replace(
        PACK,
        name=name,
        pairs=scenes,
        scene_pairs=scenes,
        contrasts=contrasts,
        lessons=lessons,
        rivals=("burglar", *VARIANTS),
    )


def _widening(count: int, seed: int, facts_every: int) -> list[list[Lesson]]:
    if facts_every != 1:
        raise SooError(f"facts_every is for narrow lessons, found {facts_every}; leave it out")
    return lesson_groups(count, seed, widening=True)


TAUGHT = _of_lessons("taught", lesson_pairs, lesson_contrasts, _widening)
"""The same for models that were taught to deceive by lessons (``soo organism``): pairs and contrasts are in the
wordings of lessons that were kept for validation."""
NARROW = _of_lessons("narrow", narrow_pairs, narrow_contrasts, narrow_groups)
"""The same for models that were taught in the scenarios' own wordings (``soo organism --narrow``)."""
BUILT_IN = {pack.name: pack for pack in (PACK, TAUGHT, NARROW)}
"""The packs of this world by name."""

__all__ = [
    "BUILT_IN",
    "NARROW",
    "PACK",
    "TAUGHT",
    "english_scenarios",
    "honesty_prompt",
    "probe_pairs",
    "scene_contrasts",
    "scene_pairs",
    "training_pairs",
]
