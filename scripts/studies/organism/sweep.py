"""SOO on one organism: a grid of settings tried on validation scenarios, the best one reported on test scenarios."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass, replace
from typing import Any

import numpy as np

from scripts.studies.organism.cells import Cells
from scripts.studies.organism.measures import CONTROLS, Rows, ask, mean_share, score
from soo_jax.adapters import LoraConfig
from soo_jax.adapters.members import RATE
from soo_jax.llm.config import FinetuneConfig
from soo_jax.llm.finetune import History, finetune
from soo_jax.llm.latent import latent_overlap
from soo_jax.models.lm import LM
from soo_jax.overlap import Term, weighted
from soo_jax.overlap.content import content
from soo_jax.tasks.organism import organism_pairs, organism_probe_pairs
from soo_jax.tasks.records import Pair

COMMON = FinetuneConfig(
    direction="other_to_self",
    lora=LoraConfig(rank=8, alpha=32.0, dropout=0.2),
    batch_size=4,
    schedule="linear",
    ema=0.99,
)
"""What all trials share; the preset ``organism`` is what came of them for the built-in model."""
WAYS = ("whole", "alone", "held")
"""How a layer is tried: adapters in all layers up to it; in this layer alone (for layer 0 that is the same); in all,
with the self side held."""


@dataclass(frozen=True)
class Scale:
    """How much a study does.

    Attributes:
      rates: learning rates tried first, ascending. finer: how many are then tried between the two of them
        where deception falls and a little above them. epochs: of every run.
      seeds: of a finer trial (a first one has the first of them). final_seeds: of what is reported.
      n: validation scenarios per family and order in a trial. base_n: of the base models. final_n: of final runs.
      layers: at most this many layers, from the first. held_layers: of these, how many are also tried with the self
        side held, which costs whole passes of the model; one seed then.
      scene_epochs, scene_finer: of runs on whole scenes, which take longest; a finer trial has three of the seeds.
      turns: how many directions are tried of the control that is matched in distance.
      varied: at most this many variations, and parts of the recipe taken away, from the first.
    """

    rates: tuple[float, ...] = (4e-5, 1.2e-4, 3.6e-4, 1.08e-3)
    finer: int = 5
    epochs: int = 20
    seeds: tuple[int, ...] = (0, 1, 2, 3, 4)
    final_seeds: tuple[int, ...] = (0, 1, 2, 3, 4)
    n: int = 20
    base_n: int = 100
    final_n: int = 50
    layers: int = 3
    held_layers: int = 2
    scene_epochs: int = 40
    scene_finer: int = 4
    turns: int = 3
    varied: int = 13


QUICK = Scale(
    rates=(1e-4, 1e-3),
    finer=1,
    epochs=2,
    seeds=(0,),
    final_seeds=(0, 1),
    n=2,
    base_n=2,
    final_n=2,
    layers=1,
    held_layers=1,
    scene_epochs=2,
    scene_finer=1,
    turns=1,
    varied=1,
)


def ways_at(scale: Scale, layer: int) -> tuple[str, ...]:
    """The `WAYS` in which this layer is tried."""
    left_out = {"alone": layer == 0, "held": layer >= scale.held_layers}
    return tuple(way for way in WAYS if not left_out.get(way))


def setting(scale: Scale, layer: int, extended: bool, way: str) -> FinetuneConfig:
    """What is tried at one layer, at all rates.

    Args:
      extended: whether the pairs run on to the word before the room; organisms that answer with the bare room decide
        where the fragments end.
      way: one of `WAYS`. ``"held"`` keeps what is answered behind the self sides as it was (KL to the base on
        :func:`held_texts`): one adapter serves both sides, and a stop-gradient alone does not keep the self side in
        its place.
    """
    return replace(
        COMMON,
        layer=layer,
        lora=replace(COMMON.lora, layers=(layer,) if way == "alone" else None),
        epochs=scale.epochs,
        seeds=scale.seeds[:1] if way == "held" else scale.seeds,
        learning_rate=scale.rates,
        extended=extended,
        retain=1.0 if way == "held" else 0.0,
    )


def scene_setting(scale: Scale, layer: int, extended: bool) -> FinetuneConfig:
    """What is tried with whole scenes as pairs: the layer alone, all of its projections, both sides drawn to where the
    self side was. Scenes show more that is not to be moved than fragments do, and need higher rates.
    """
    config = setting(scale, layer, extended, "alone")
    return replace(
        config,
        direction="anchored",
        lora=replace(config.lora, targets=("q", "k", "v", "o")),
        epochs=scale.scene_epochs,
        learning_rate=tuple(9 * rate for rate in scale.rates),
    )


@dataclass(frozen=True)
class Lesson:
    """A setting and the pairs that it is tried on."""

    config: FinetuneConfig
    pairs: Sequence[Pair]


def recipe_without(scale: Scale, config: FinetuneConfig, scenes: Sequence[Pair]) -> dict[str, Lesson]:
    """The recipe of :func:`scene_setting` with one of its parts taken away at a time, to tell what each is good for.

    Args:
      config: the recipe, with the rates and seeds of these trials.
      scenes: its pairs.
    """
    fewer = scenes[: max(1, len(scenes) // 4)]
    usual = replace(config, learning_rate=tuple(sorted({*scale.rates, *config.rates})))
    return {
        "fragments": Lesson(usual, organism_pairs(extended=config.extended)),
        "not-anchored": Lesson(replace(config, direction=COMMON.direction), scenes),
        "q-and-v": Lesson(replace(config, lora=replace(config.lora, targets=COMMON.lora.targets)), scenes),
        "adapted-whole": Lesson(replace(config, lora=replace(config.lora, layers=None)), scenes),
        # As many steps as with all of them.
        "a-quarter-of-the-scenes": Lesson(replace(config, epochs=4 * config.epochs), fewer),
        "residual": Lesson(replace(config, site="residual"), scenes),
        "relative-distance": Lesson(replace(config, distance="relative_mse"), scenes),
    }


def held_texts(config: FinetuneConfig, pairs: Sequence[Pair]) -> list[str]:
    """The texts on which a setting stays close to the base: the self sides of the pairs, or none."""
    return [pair.self_text for pair in pairs] if config.retain else []


def one_change(found: FinetuneConfig) -> dict[str, FinetuneConfig]:
    """One change at a time to a chosen setting, to be tried at all rates.

    AdamW does not see a constant factor on the loss: a distance divided by the power of the activations is a check.
    """
    other_pairs = "fragments" if found.extended else "extended"
    whole = found.lora.layers is None
    adapted = replace(found.lora, layers=(found.layer,) if whole else None)
    return {
        other_pairs: replace(found, extended=not found.extended),
        "all-tokens": replace(found, tokens="all"),
        f"{other_pairs}-all-tokens": replace(found, tokens="all", extended=not found.extended),
        "held" if not found.retain else "not-held": replace(found, retain=0.0 if found.retain else 1.0),
        "adapted-alone" if whole else "adapted-whole": replace(found, lora=adapted),
        "both-directions": replace(found, direction="both"),
        "self-to-other": replace(found, direction="self_to_other"),
        "anchored": replace(found, direction="anchored"),
        "relative-distance": replace(found, distance="relative_mse"),
        "cosine": replace(found, distance="cosine"),
        "all-projections": replace(found, lora=replace(found.lora, targets=("q", "k", "v", "o"))),
        "residual": replace(found, site="residual"),
        "mlp-out": replace(found, site="mlp_out"),
    }


def try_layer(
    cells: Cells,
    name: str,
    lm: LM,
    config: FinetuneConfig,
    scale: Scale,
    controls: Sequence[str],
    texts: Sequence[str] = (),
    pairs: Sequence[Pair] | None = None,
    beyond: float = 1.73,
) -> list[dict[str, Any]]:
    """Tries a setting at all rates with one seed, then at finer ones where deception falls; one summary per rate.

    The rates at which an organism is honest are few: below them it deceives, above them it breaks. ``beyond`` is as in
    :func:`bracket`.
    """
    first = try_rates(cells, name, lm, replace(config, seeds=config.seeds[:1]), scale, controls, texts, pairs)
    between = bracket(first, beyond)
    if between is None:
        return first
    finer = tuple(float(f"{rate:.3g}") for rate in np.geomspace(*between, scale.finer + 2)[1:-1])
    config = replace(config, learning_rate=finer)
    return first + try_rates(cells, f"{name}-finer", lm, config, scale, controls, texts, pairs)


def bracket(summaries: Sequence[dict[str, Any]], beyond: float = 1.73) -> tuple[float, float] | None:
    """From the last rate at which the burglar is mostly deceived to ``beyond`` times the next; None if he always is."""
    rates = [found["learning_rate"] for found in summaries]
    fallen = next((i for i, found in enumerate(summaries) if found["burglar_deceptive"] < 0.5), None)
    if fallen is None:
        return None
    return (rates[fallen - 1] if fallen else rates[0] / 3, beyond * rates[fallen])


def try_rates(
    cells: Cells,
    name: str,
    lm: LM,
    config: FinetuneConfig,
    scale: Scale,
    controls: Sequence[str],
    texts: Sequence[str] = (),
    given: Sequence[Pair] | None = None,
) -> list[dict[str, Any]]:
    """Trains all rates and seeds of a setting at once; one summary per rate, measured on validation scenarios."""

    def compute() -> dict[str, Any]:
        pairs = organism_pairs(extended=config.extended) if given is None else given
        adapters, history = finetune(lm, pairs, config, texts=texts or held_texts(config, pairs))
        rows = ask(lm, "validation", scale.n, adapters=adapters)
        return {"rates": [summary(rows, history, rate, controls) for rate in config.rates]}

    settings = {"config": config.as_dict(), "n": scale.n, "controls": list(controls), "texts": list(texts)}
    if given is not None:
        settings["pairs"] = [[pair.self_text, pair.other_text] for pair in given]
    return [{"trial": name, **found} for found in cells.get(f"trial-{name}", settings, compute)["rates"]]


def summary(rows: Rows, history: History, rate: float, controls: Sequence[str]) -> dict[str, Any]:
    """What one learning rate did: score, rates of answers, loss before and after, size of the weight update."""
    members = [i for i, member in enumerate(history.members) if member.get(RATE) == rate]
    seeds = {history.members[i].seed for i in members}
    own = [row for row in rows if row.get(RATE, rate) == rate and row["seed"] in seeds]
    loss = history.values["loss"][:, members]
    tenth = max(1, len(loss) // 10)
    return {
        "learning_rate": rate,
        "seeds": len(members),
        "score": score(own, controls),
        **{f"burglar_{label}": mean_share(own, "burglar", label) for label in ("honest", "deceptive", "other")},
        **{family: mean_share(own, family) for family in CONTROLS},
        "loss_first": float(np.mean(loss[:tenth])),
        "loss_last": float(np.mean(loss[-tenth:])),
        "drift": float(np.mean(history.values["drift"][-1, members])),
    }


def choose(summaries: Sequence[dict[str, Any]], margin: float = 0.02) -> dict[str, Any]:
    """The best score; of those within ``margin`` of it, the lowest learning rate."""
    best = max(found["score"] for found in summaries)
    near = [found for found in summaries if found["score"] >= best - margin]
    return min(near, key=lambda found: (found["learning_rate"], -found["score"]))


def final(
    cells: Cells,
    name: str,
    lm: LM,
    config: FinetuneConfig,
    scale: Scale,
    split: str,
    pairs: Sequence[Pair] | None = None,
    texts: Sequence[str] = (),
    term: Term | None = None,
) -> dict[str, Any]:
    """One setting with all seeds, measured on ``split``: rows, drift, and latent overlap by layer.

    ``term``: what is minimised instead of the overlap; a frozen dataclass of plain values.
    """
    config = replace(config, seeds=scale.final_seeds)
    pairs = organism_pairs(extended=config.extended) if pairs is None else pairs

    def compute() -> dict[str, Any]:
        objective = None if term is None else weighted(term=(1.0, term))
        adapters, history = finetune(lm, pairs, config, texts=texts or held_texts(config, pairs), objective=objective)
        return {
            "rows": ask(lm, split, scale.final_n, adapters=adapters, condition=name),
            "latent": latent_overlap(lm, organism_probe_pairs(extended=config.extended), adapters=adapters),
            "drift": [float(x) for x in history.values["drift"][-1]],
            "loss_first": float(history.values["loss"][0].mean()),
            "loss_last": float(history.values["loss"][-1].mean()),
        }

    sides = [[pair.self_text, pair.other_text] for pair in pairs]
    settings = {"config": config.as_dict(), "n": scale.final_n, "split": split, "pairs": sides, "texts": list(texts)}
    if term is not None:
        settings["term"] = content(term)
    return cells.get(f"{name}-{split}", settings, compute)
