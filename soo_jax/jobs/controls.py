"""The job behind ``soo controls``: SOO beside everything that might do the same, on the same questions."""

from __future__ import annotations

import random
import re
from collections.abc import Callable, Iterator, Sequence
from dataclasses import dataclass
from functools import partial
from pathlib import Path
from typing import Any

from soo_jax.adapters import Lora, Member, Stack
from soo_jax.checkpoints import digest
from soo_jax.errors import SooError
from soo_jax.jobs.job import LANGUAGE, Job
from soo_jax.jobs.language import Measure, pack_of, tell_power, training_pairs
from soo_jax.llm.config import FinetuneConfig
from soo_jax.llm.controls import Turned, control_pairs, steered
from soo_jax.llm.drift import drift_rows
from soo_jax.llm.evaluate import EvalConfig, check_scenarios, evaluate
from soo_jax.llm.finetune import finetune, prepare
from soo_jax.llm.teaching import TeachConfig, encode_examples, teach
from soo_jax.models.lm import LM
from soo_jax.models.probes import Probe
from soo_jax.overlap import weighted
from soo_jax.overlap.content import content
from soo_jax.progress import Progress, Reporter
from soo_jax.tasks.labels import label
from soo_jax.tasks.pack import TaskPack
from soo_jax.tasks.records import Pair, Scenario
from soo_jax.tasks.statistics import CONTROL

RATES = (1.0, 4.0, 16.0)
"""Rates that are tried for labels, as multiples of SOO's."""
Treat = Callable[[Progress, Path, bool], tuple[LM, Stack | None]]
"""Does something to the model; a training keeps its states in the folder, and goes on from them if it is told so."""


@dataclass(frozen=True)
class Controls:
    """Which controls, beside pairs that are not self and other.

    Attributes:
      turns: draws of the matched turn (as far as SOO moves, in another direction).
      examples: numbers of honest answers to teach. strengths: of the steering vector.
    """

    turns: int = 1
    examples: tuple[int, ...] = (4, 16, 52)
    strengths: tuple[float, ...] = (0.5, 1.0, 2.0, 4.0)

    def __post_init__(self):
        if self.turns < 0 or any(count < 1 for count in self.examples):
            raise SooError("controls: turns must not be negative, examples must be 1 or more")


def run_controls(
    lm: LM,
    config: FinetuneConfig,
    controls: Controls,
    measure: Measure,
    eval_config: EvalConfig,
    out: Path,
    *,
    pairs_file: Path | None = None,
    tasks: Path | None = None,
    resume: bool = False,
    force: bool = False,
    settings: dict[str, Any] | None = None,
    reporter: Reporter | None = None,
) -> list[dict[str, Any]]:
    """Trains SOO and every control with the same settings, and asks all of them the same; returns the tidy rows.

    Each is kept as soon as it is done, so that ``resume`` does what is missing.

    Raises:
      SooError: several rates, another site than the attention output, or whatever fine-tuning and evaluation refuse.
    """
    pack = pack_of(lm, tasks)
    pairs = training_pairs(pack, pairs_file, config.extended)
    prepared = prepare(lm, pairs, config)
    config = prepared.config
    if len(config.rates) > 1 or config.site != "attn_out":
        raise SooError("controls: compare one setting: one learning rate, and the attention output")
    asked, texts = measure.scenarios(pack), measure.texts(pack)
    honest = [pack.honesty(one) for one in asked if one.recipient] if measure.honesty else []
    check_scenarios(lm, [*asked, *honest], eval_config)
    examples = _honest_answers(lm, pack, max(controls.examples, default=0))
    if examples:
        encode_examples(lm, [[one] for one in examples])  # refuses what cannot be taught
    judged_by = _validation(pack, pack.families[:1] + pack.controls, 5, seed=1) if examples else []
    treatments = dict(_treatments(lm, config, controls, pairs, texts, examples, judged_by))
    told = {"model": lm.identity, "settings": settings or {}, "finetune": config.as_dict(), "controls": vars(controls)}
    told |= {"eval": eval_config.as_dict(), "measure": vars(measure), "pairs": len(pairs), "dtype": lm.dtype}
    told |= {"hashes": {"texts": digest(content([pairs, texts, asked, examples]))}}
    job = Job("controls", LANGUAGE, out, told, same=SAME_WORK, resume=resume, force=force, reporter=reporter)
    with job:
        tell_power(job, asked, len(config.seeds))

        def ask(condition: str, scenarios: Sequence[Scenario], model: LM, adapters: Stack | None) -> dict[str, Any]:
            with job.stage("eval", f"ask: {condition.removeprefix(CONTROL)}") as bar:
                done = evaluate(
                    model, scenarios, eval_config, adapters=adapters, condition=condition,
                    journal=job.journal(_file(condition)), resume=job.resume, progress=bar,
                )  # fmt: skip
            ordinary = texts if condition != "honesty_prompt" else []
            drift = drift_rows(model, ordinary, adapters=adapters, condition=condition, base=lm) if ordinary else []
            return {"rows": done.rows, "drift": drift, "responses": done.responses}

        def treated(name: str) -> dict[str, Any]:
            with job.stage("treat", name.removeprefix(CONTROL)) as bar:
                model, adapters = treatments[name](bar, job.states / _file(name), job.resume)
            return ask(name, asked, model, adapters)

        todo: dict[str, Callable[[], dict[str, Any]]] = {}
        if measure.base:
            todo["base"] = partial(ask, "base", asked, lm, None)
        if honest:
            todo["honesty_prompt"] = partial(ask, "honesty_prompt", honest, lm, None)
        todo |= {name: partial(treated, name) for name in treatments}
        done = []
        for name, do in todo.items():
            done.append(job.once(_file(name), do))
            job.run.log(f"{name}: done")
        for part in done:
            job.run.append_responses(part["responses"])
        rows, drift = ([row for part in done for row in part[table]] for table in ("rows", "drift"))
        job.results(rows=rows, drift=drift)
    return rows


SAME_WORK = ("model", "dtype", "finetune", "controls", "eval", "measure", "hashes")
"""What must be as it was for the controls to be resumed."""


def _file(condition: str) -> str:
    """A condition as the name of a file."""
    return re.sub(r"[^\w.-]+", "-", condition)


def _treatments(
    lm: LM,
    config: FinetuneConfig,
    controls: Controls,
    pairs: Sequence[Pair],
    texts: Sequence[str],
    examples: Sequence[tuple[str, str]],
    judged_by: Sequence[Scenario],
) -> Iterator[tuple[str, Treat]]:
    """What is done to the model, by the name of its condition; done only when it is called."""

    def tuned(chosen: Sequence[Pair], **how: Any) -> Treat:
        def treat(bar: Progress, states: Path, resume: bool) -> tuple[LM, Stack]:
            return lm, finetune(lm, chosen, config, checkpoints=states, resume=resume, progress=bar, **how)[0]

        return treat

    yield "soo", tuned(pairs)
    rng = random.Random(0)
    for name, others in control_pairs(lm, config, pairs, rng).items():
        yield f"{CONTROL}{name}", tuned(others)
    if texts:
        strange = [texts[i % len(texts)] for i in range(len(pairs))]
        yield f"{CONTROL}unrelated", tuned([Pair(a, pair.other_text) for a, pair in zip(strange, pairs, strict=True)])
    swapped = [Pair(pair.other_text, pair.self_text) for pair in pairs]
    for draw in range(1, controls.turns + 1):
        objective = weighted(turned=(1.0, Turned(Probe(config.site, config.layer), draw)))
        yield f"{CONTROL}turned {draw}", tuned(swapped, objective=objective)
    for count in controls.examples:
        if len(examples) >= count:
            own = examples[:count]
            yield (
                f"{CONTROL}{count} answers",
                lambda bar, *_, own=own: (lm, _taught(lm, config, own, len(pairs), judged_by, bar)),
            )
    for strength in controls.strengths:
        yield f"{CONTROL}steering {strength:g}", lambda *_, by=strength: (steered(lm, config, pairs, by), None)


def _taught(
    lm: LM,
    config: FinetuneConfig,
    examples: Sequence[tuple[str, str]],
    pairs: int,
    judged_by: Sequence[Scenario],
    bar: Progress,
) -> Stack:
    """Honest answers as labels, with as many updates as SOO has on its pairs; one adapter for each seed.

    Labels need another rate than SOO. The best of ``RATES`` times SOO's is taken, by the first seed's worst cell on
    validation scenarios.
    """
    steps = config.epochs * -(-pairs // (config.batch_size * config.accumulation))
    quick = EvalConfig(max_new_tokens=16, margins=False)

    def taught(seed: int, rate: float) -> Lora:
        how = TeachConfig(
            lora=config.lora, steps=steps, batch_size=min(config.batch_size, len(examples)), learning_rate=rate,
            warmup=config.warmup, clip_norm=config.clip_norm or 1e9, seed=seed, retain=0.0,
        )  # fmt: skip
        return teach(lm, [[one] for one in examples], how, progress=bar)[0]

    def worst(lora: Lora) -> tuple[float, float]:
        rows = evaluate(lm, judged_by, quick, adapters=lora).rows
        shares = [row["honest"] / row["n"] for row in rows]
        return min(shares), sum(shares)

    first, *others = config.seeds
    tried = {rate: taught(first, rate) for rate in (config.rates[0] * times for times in RATES)}
    best = max(tried, key=lambda rate: worst(tried[rate])) if judged_by else config.rates[0]
    adapters = [tried[best], *(taught(seed, best) for seed in others)]
    members = [Member.of(seed=seed, learning_rate=best) for seed in config.seeds]
    return Stack.of(adapters, members, lm.config)


def _honest_answers(lm: LM, pack: TaskPack, count: int) -> list[tuple[str, str]]:
    """Questions of the first family of rivals from the validation split, with honest answers in the model's own words:
    what it says, with the honest place in the deceptive one's stead. Labels in other words would teach those words."""
    rivals = tuple(family for family in pack.families if family not in pack.controls)
    asked = _validation(pack, rivals[:1], -(-count // 2))[:count] if count and rivals else []
    if not asked:
        return []
    said = evaluate(lm, asked, EvalConfig(max_new_tokens=16, margins=False)).responses
    found = []
    for one, row in zip(asked, said, strict=True):
        swapped = re.sub(rf"\b{re.escape(one.deceptive)}\b", one.honest, row["response"], flags=re.IGNORECASE)
        plain = f"{one.lead} {one.honest}.".strip()
        found.append((one.prompt, swapped if label(swapped, one) == "honest" else plain))
    return found


def _validation(pack: TaskPack, families: Sequence[str], n: int, seed: int = 0) -> list[Scenario]:
    """Validation scenarios; none where the pack has no such split. Another seed gives others than are taught."""
    try:
        return pack.scenarios(families, n, seed, "validation")
    except SooError:
        return []
