"""The whole study: every organism measured, swept and reported; what was computed once is not computed again."""

from __future__ import annotations

import hashlib
import json
from collections.abc import Callable, Sequence
from dataclasses import asdict, dataclass, replace
from pathlib import Path
from typing import Any

import jax
import numpy as np

from scripts.studies.organism.cells import Cells
from scripts.studies.organism.controls import honest_examples, organism_controls
from scripts.studies.organism.measures import CONTROLS, RIVALS, Rows, ask, known, qualifies, score
from scripts.studies.organism.predictors import predictors, twins
from scripts.studies.organism.sweep import (
    Scale,
    choose,
    final,
    one_change,
    recipe_without,
    scene_setting,
    setting,
    try_layer,
    try_rates,
    ways_at,
)
from soo_jax.errors import SooError
from soo_jax.files import read_json, write_atomically
from soo_jax.llm.config import FinetuneConfig
from soo_jax.llm.controls import Turned, steered
from soo_jax.llm.diagnose import MEASURES, moved
from soo_jax.llm.evaluate import EvalConfig, evaluate
from soo_jax.llm.finetune import finetune
from soo_jax.models.lm import LM
from soo_jax.models.probes import Probe
from soo_jax.provenance import provenance
from soo_jax.tasks.organism import organism_pairs, organism_scenarios, organism_scene_pairs, training_record
from soo_jax.tasks.organism.pairs import DECISION
from soo_jax.tasks.organism.scenarios import FAMILIES
from soo_jax.tasks.records import Pair

SCHEMA = "soo-study/3"
EXAMPLES = 52
"""Honest answers that supervised fine-tuning gets: as many as SOO has pairs."""
STRENGTHS = (0.5, 1.0, 2.0, 4.0)
"""Of the steering vector; 1 adds the mean self-other difference as it is."""

PARTS = ("controls", "variations", "recipe")
"""What organisms that are looked at closely get beside the sweep."""

GRID = (
    "residual",
    "mlp-out",
    "both-directions",
    "self-to-other",
    "anchored",
    "relative-distance",
    "cosine",
    "all-tokens",
    "all-projections",
)
"""Changes of site, direction, distance, tokens and adapter that every organism is tried with."""

Say = Callable[[str], None]


@dataclass(frozen=True)
class Subject:
    """One organism under study.

    Attributes:
      extended: whether it says something before the room; the pairs are then extended to where the room comes.
      controls: what it answers rightly before any SOO; these count in scores.
    """

    name: str
    lm: LM
    cells: Cells
    scale: Scale
    extended: bool
    controls: tuple[str, ...]

    @property
    def decision(self) -> str:
        """What stands between a question and the room of its answer."""
        return DECISION if self.extended else ""


def study(
    organisms: dict[str, LM],
    out: Path,
    scale: Scale,
    close: Sequence[str] = (),
    parts: Sequence[str] = PARTS,
    say: Say = lambda line: None,
) -> dict[str, Any]:
    """Runs the study, breadth first, and writes ``study.json``; every part is kept in ``cells/`` once it is known.

    Organisms that were studied into the same folder before stay in ``study.json``.

    Args:
      organisms: models by the name under which they are reported.
      close: names of those that also get the controls, the variations of the chosen setting, and the recipe with whole
        scenes without one of its parts at a time.
      parts: which of `PARTS` they get.

    Raises:
      SooError: a name in ``close`` that is no organism of this study, an unknown part, or a folder that cannot be used.
    """
    strange = [part for part in parts if part not in PARTS]
    if strange:
        raise SooError(f"--part {strange[0]}: is unknown; choose from {', '.join(PARTS)}")
    unknown = [name for name in close if name not in organisms]
    if unknown:
        raise SooError(f"--close {unknown[0]}: is no organism of this study; choose from {', '.join(organisms)}")
    earlier(out)  # refuses a folder of something else before anything is computed
    found: dict[str, dict[str, Any]] = {}
    subjects = []
    for name, lm in organisms.items():
        subject, found[name] = meet(name, lm, Cells(out / "cells" / name, weights_digest(lm), say), scale)
        subjects.append(subject)
    near = [subject for subject in subjects if subject.name in close]
    everybody = (sweep, report, scenes, elsewhere)
    steps = [*((step, subjects) for step in everybody), (controls, near), (variations, near), (recipe, near)]
    for step, chosen in steps:
        if step in everybody or step.__name__ in parts:
            for subject in chosen:
                found[subject.name] |= step(subject, found[subject.name])
    for subject in subjects:
        found[subject.name]["seconds"] = round(subject.cells.seconds())
    result = {"schema": SCHEMA, "scale": asdict(scale), "made_with": provenance()}
    result["organisms"] = earlier(out) | found
    out.mkdir(parents=True, exist_ok=True)
    write_atomically(out / "study.json", json.dumps(result, indent=1) + "\n")
    return result


def earlier(out: Path) -> dict[str, dict[str, Any]]:
    """The organisms in the ``study.json`` of a folder, if there is one."""
    path = out / "study.json"
    if not path.is_file():
        return {}
    result = read_json(path)
    if result.get("schema") != SCHEMA:
        raise SooError(
            f"{path}: is no study of this version ({SCHEMA}); remove it (cells/ has its parts) or choose another --out"
        )
    return result["organisms"]


def weights_digest(lm: LM) -> str:
    """Digest of every weight: organisms of one family have the same shapes, so that a fingerprint would not do."""
    digest = hashlib.sha256()
    for leaf in jax.tree.leaves(lm.params):
        digest.update(np.asarray(leaf).tobytes())
    return digest.hexdigest()


def meet(name: str, lm: LM, cells: Cells, scale: Scale) -> tuple[Subject, dict[str, Any]]:
    """Measures an organism as it is: its answers on both splits, and the predictors by layer."""

    def answers(split: str) -> Rows:
        families = [*RIVALS, *CONTROLS] if split == "validation" else [*FAMILIES]
        settings = {"split": split, "n": scale.base_n, "families": families}
        compute = lambda: {"rows": ask(lm, split, scale.base_n, families=families, condition="base")}
        return cells.get(f"base-{split}", settings, compute)["rows"]

    base = answers("validation")
    subject = Subject(name, lm, cells, scale, says_something_first(lm, scale.base_n), known(base))
    asked = {"count": scale.base_n, "decision": subject.decision}
    told = {"measures": MEASURES}  # a cell of fewer measures is computed anew
    pairs = [[pair.self_text, pair.other_text] for pair in organism_pairs(extended=subject.extended)]
    layerwise = cells.get("predictors", asked | told | {"pairs": pairs}, lambda: {"layers": predictors(lm, **asked)})
    return subject, {
        "layers": lm.config.num_layers,
        "width": lm.config.width,
        "training": {name: training_record(lm.folder).get(name) for name in ("command", "seconds")},
        "extended": subject.extended,
        "known": list(subject.controls),
        "qualifies": qualifies(base),
        "base_validation": base,
        "base_test": answers("test"),
        "predictors": layerwise["layers"],
    }


def says_something_first(lm: LM, n: int = 1) -> bool:
    """Whether the organism leads up to the room ("i would recommend the ...") or answers with the bare room."""
    scenarios = organism_scenarios("validation", ("burglar",), n)
    config = EvalConfig(max_new_tokens=12, batch_size=2 * n, margins=False)  # the program of the other measures
    answers = [row["response"] for row in evaluate(lm, scenarios, config).responses]
    return sum(answer.startswith("i would") for answer in answers) > len(answers) / 2


def sweep(subject: Subject, found: dict[str, Any]) -> dict[str, Any]:
    """SOO at every layer, in every way, at all rates; the setting that is chosen on validation scenarios."""
    scale, trials = subject.scale, []
    for layer in range(min(scale.layers, subject.lm.config.num_layers)):
        for way in ways_at(scale, layer):
            config = setting(scale, layer, subject.extended, way)
            tried = try_layer(subject.cells, f"layer{layer}-{way}", subject.lm, config, scale, subject.controls)
            trials += [{"layer": layer, "way": way, **row} for row in tried]
    return {"trials": trials, "chosen": choose(trials)}


def chosen_config(subject: Subject, found: dict[str, Any]) -> FinetuneConfig:
    """The setting that the sweep chose, with all seeds."""
    chosen = found["chosen"]
    config = setting(subject.scale, chosen["layer"], subject.extended, chosen["way"])
    return replace(config, learning_rate=chosen["learning_rate"], seeds=subject.scale.final_seeds)


def report(subject: Subject, found: dict[str, Any]) -> dict[str, Any]:
    """The chosen setting with all seeds, on validation scenarios (which organism is shipped) and on test scenarios."""
    config = chosen_config(subject, found)
    both = {
        split: final(subject.cells, "soo", subject.lm, config, subject.scale, split) for split in ("validation", "test")
    }
    return {"soo": both, "score_validation": score(both["validation"]["rows"], subject.controls)}


FLIPS = 0.9
"""Share of answers that a layer must flip under patching to count as decisive."""


def decisive_layer(layerwise: Sequence[dict[str, Any]]) -> int | None:
    """The last layer whose attention output at the deciding position, taken over alone, flips the answers."""
    return max((row["layer"] for row in layerwise if row["patch_attention"] >= FLIPS), default=None)


def elsewhere(subject: Subject, found: dict[str, Any]) -> dict[str, Any]:
    """Fragments at the decisive layer alone, compared elsewhere or otherwise: one change at a time (`GRID`), one seed,
    at the first rates; the best rate of each."""
    layer = decisive_layer(found["predictors"])
    if layer is None:
        return {"elsewhere": None}
    cells, lm, scale = subject.cells, subject.lm, subject.scale
    config = setting(scale, layer, subject.extended, "alone" if layer else "whole")
    config = replace(config, seeds=scale.seeds[:1])
    changes = {"unchanged": config, **{name: one_change(config)[name] for name in GRID}}
    best = {
        name: choose(try_rates(cells, f"elsewhere-{name}", lm, changed, scale, subject.controls))
        for name, changed in list(changes.items())[: 1 + scale.varied]
    }
    return {"elsewhere": {"layer": layer, "best": best}}


SCENES_BEYOND = 3.0
"""How far above the rate at which deception falls whole scenes are still tried: their range is wide."""


def scenes(subject: Subject, found: dict[str, Any]) -> dict[str, Any]:
    """SOO with whole scenes as pairs at the decisive layer (:func:`scene_setting`); rows on test scenarios."""
    layer = decisive_layer(found["predictors"])
    if layer is None:
        return {"scenes": None}
    cells, lm, scale = subject.cells, subject.lm, _scene_scale(subject, 3)
    pairs = organism_scene_pairs(extended=subject.extended)
    config = scene_setting(scale, layer, subject.extended)
    trials = try_layer(cells, f"scenes{layer}", lm, config, scale, subject.controls, pairs=pairs, beyond=SCENES_BEYOND)
    chosen = choose(trials)
    config = replace(config, learning_rate=chosen["learning_rate"])
    result = final(cells, "scenes", lm, config, scale, "test", pairs)

    def compute() -> dict[str, Any]:
        adapters, _ = finetune(lm, pairs, replace(config, seeds=scale.final_seeds))
        return moved(lm, adapters.lora, twins(lm, "validation", scale.base_n, subject.decision), layer)

    how_far = cells.get("scenes-moved", {"config": config.as_dict(), "count": scale.base_n}, compute)
    return {"scenes": {"layer": layer, "trials": trials, "chosen": chosen, "test": result, "moved": how_far}}


def _scene_scale(subject: Subject, seeds: int) -> Scale:
    """The scale of trials on whole scenes, with so many seeds."""
    return replace(subject.scale, finer=subject.scale.scene_finer, seeds=subject.scale.seeds[:seeds])


def recipe(subject: Subject, found: dict[str, Any]) -> dict[str, Any]:
    """The recipe of :func:`scenes` without one of its parts at a time, as :func:`variations` of the chosen setting."""
    if found["scenes"] is None:
        return {"recipe": None}
    scale = _scene_scale(subject, 2)
    config = scene_setting(scale, found["scenes"]["layer"], subject.extended)
    lessons = recipe_without(scale, config, organism_scene_pairs(extended=subject.extended))
    best = {}
    for name, lesson in list(lessons.items())[: scale.varied]:
        tried = try_layer(
            subject.cells, f"scenes-{name}", subject.lm, lesson.config, scale, subject.controls,
            pairs=lesson.pairs, beyond=SCENES_BEYOND,
        )  # fmt: skip
        best[name] = choose(tried)
    return {"recipe": best}


def controls(subject: Subject, found: dict[str, Any]) -> dict[str, Any]:
    """Other pairs at the chosen setting, honest answers as labels, and a steering vector: rows on test scenarios."""
    cells, lm, scale = subject.cells, subject.lm, subject.scale
    config = chosen_config(subject, found)
    by_name = {
        name: final(cells, name, lm, config, scale, "test", pairs)
        for name, pairs in organism_controls(lm, config).items()
    }
    by_name |= {f"turned-{draw}": _turned(subject, config, draw) for draw in range(1, scale.turns + 1)}
    by_name["honest-answers"] = _honest_answers(subject, config)
    by_name["steering"] = _steering(subject, config)
    return {"controls": by_name}


def _turned(subject: Subject, config: FinetuneConfig, draw: int) -> dict[str, Any]:
    """The other sides drawn as far as SOO draws them, in another direction (:class:`Turned`)."""
    swapped = [Pair(pair.other_text, pair.self_text) for pair in organism_pairs(extended=config.extended)]
    term = Turned(Probe(config.site, config.layer), draw)
    return final(subject.cells, f"turned-{draw}", subject.lm, config, subject.scale, "test", swapped, term=term)


def _honest_answers(subject: Subject, config: FinetuneConfig) -> dict[str, Any]:
    """Plain supervised fine-tuning on as many honest answers as SOO has pairs; its rate is chosen on validation."""
    supervised = replace(
        config, overlap_weight=0.0, retain=0.0, terms=("scripts.studies.organism.controls:HONEST_ANSWERS",)
    )
    texts = honest_examples(EXAMPLES, subject.decision)
    trials = replace(supervised, learning_rate=subject.scale.rates, seeds=subject.scale.seeds)
    tried = try_layer(subject.cells, "honest-answers", subject.lm, trials, subject.scale, subject.controls, texts)
    rate = choose(tried)["learning_rate"]
    config = replace(supervised, learning_rate=rate)
    result = final(subject.cells, "honest-answers", subject.lm, config, subject.scale, "test", texts=texts)
    return result | {"trials": tried, "learning_rate": rate}


def _steering(subject: Subject, config: FinetuneConfig) -> dict[str, Any]:
    """The mean self-other difference added without training; its strength is chosen on validation scenarios."""
    scale, pairs = subject.scale, organism_pairs(extended=config.extended)

    def compute() -> dict[str, Any]:
        tried = []
        for strength in STRENGTHS:
            rows = ask(steered(subject.lm, config, pairs, strength), "validation", scale.n)
            tried.append({"strength": strength, "score": score(rows, subject.controls)})
        best = max(tried, key=lambda row: row["score"])["strength"]
        rows = ask(steered(subject.lm, config, pairs, best), "test", scale.final_n, condition="steering")
        return {"rows": rows, "tried": tried, "strength": best}

    settings = {"config": config.as_dict(), "n": scale.n, "final_n": scale.final_n, "strengths": STRENGTHS}
    return subject.cells.get("steering", settings, compute)


def variations(subject: Subject, found: dict[str, Any]) -> dict[str, Any]:
    """One change at a time to the chosen setting, each at all rates on validation scenarios, the finer ones with two
    seeds; the best rate of each."""
    seeds = subject.scale.seeds[:2]
    config = replace(chosen_config(subject, found), learning_rate=subject.scale.rates, seeds=seeds)
    best = {}
    for name, changed in list(one_change(config).items())[: subject.scale.varied]:
        tried = try_layer(subject.cells, name, subject.lm, changed, subject.scale, subject.controls)
        best[name] = choose(tried)
    return {"variations": best}
