"""Jobs about language models: fine-tune, evaluate, latent overlap, and the demo."""

from __future__ import annotations

from collections import Counter
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, fields, replace
from pathlib import Path
from typing import Any, NamedTuple

import jax

from soo_jax.adapters import Stack
from soo_jax.adapters.members import columns
from soo_jax.checkpoints import digest, steps
from soo_jax.distributed import whole
from soo_jax.errors import SooError
from soo_jax.jobs.job import LANGUAGE, Job
from soo_jax.llm.config import FinetuneConfig
from soo_jax.llm.drift import drift_rows
from soo_jax.llm.evaluate import EvalConfig, check_scenarios, evaluate
from soo_jax.llm.finetune import Prepared, check_resumable, prepare, run_prepared
from soo_jax.llm.folders import load_adapters, save_adapters
from soo_jax.llm.kinds import check_kinds
from soo_jax.llm.latent import check_probes, latent_overlap
from soo_jax.llm.organisms import ORGANISMS
from soo_jax.llm.pair_check import pair_check
from soo_jax.metrics import Record
from soo_jax.models.lm import LM
from soo_jax.overlap.content import content
from soo_jax.progress import Reporter
from soo_jax.runs import RunFolder
from soo_jax.tasks.comparison import detectable
from soo_jax.tasks.english import BUILT_IN
from soo_jax.tasks.pack import TaskPack, pack_for, read_pack
from soo_jax.tasks.records import Pair, Scenario, read_pairs, read_scenarios, read_texts

SCENES = "scenes"
"""In place of a file of pairs: the built-in ones that are whole scenes."""


def pack_of(lm: LM, tasks: Path | None = None) -> TaskPack:
    """The task pack in a folder, or the built-in one of that name; without either the one that fits the model."""
    if tasks is None:
        own = ORGANISMS.get(lm.called or "")
        return pack_for(lm.tokenizer.get_vocab(), lm.folder) if own is None else BUILT_IN[own.tasks]
    if str(tasks) in BUILT_IN and not Path(tasks).exists():
        return BUILT_IN[str(tasks)]
    return read_pack(tasks)


@dataclass(frozen=True)
class Measure:
    """What ``soo eval`` asks.

    Attributes:
      scenarios_file: the user's own; None takes the pack's.
      families, n, seed, split: of the pack's.
      honesty: also measure the honesty-prompt baseline. base: also measure the model without adapters.
      texts_file: ordinary texts, by which drift is measured; None takes the pack's. drift: measure it at all.
    """

    scenarios_file: Path | None = None
    families: tuple[str, ...] | None = None
    n: int = 250
    seed: int = 0
    split: str = "test"
    honesty: bool = True
    base: bool = True
    texts_file: Path | None = None
    drift: bool = True

    def texts(self, pack: TaskPack) -> list[str]:
        """The ordinary texts to look at; none where drift is not asked for, or the pack has none."""
        if not self.drift:
            return []
        return read_texts(self.texts_file) if self.texts_file is not None else pack.texts()

    def scenarios(self, pack: TaskPack) -> list[Scenario]:
        """The scenarios to ask."""
        if self.scenarios_file is not None:
            return read_scenarios(self.scenarios_file)
        return pack.scenarios(self.families, self.n, self.seed, self.split)


def evaluation_of(
    values: Mapping[str, Any], begin: tuple[Measure, EvalConfig] | None = None
) -> tuple[Measure, EvalConfig]:
    """What is asked and how, from settings by name; the seed is that of the instances and of sampling.

    Args:
      begin: what the settings change.

    Raises:
      SooError: an unknown setting, or a value that it cannot have.
    """
    own = {kind: {f.name for f in fields(kind)} for kind in (Measure, EvalConfig)}
    for name in values:
        if not any(name in names for names in own.values()):
            known = sorted(set().union(*own.values()))
            raise SooError(f"setting {name!r} is unknown; choose from {', '.join(known)}")
    plain = lambda name, value: (
        tuple(value)
        if isinstance(value, list)
        else Path(value)
        if name in ("scenarios_file", "texts_file") and value
        else value
    )
    made = [
        replace(start, **{name: plain(name, value) for name, value in values.items() if name in own[type(start)]})
        for start in begin or (Measure(), EvalConfig())
    ]
    for one in made:
        check_kinds(one)
    return made[0], made[1]


def training_pairs(pack: TaskPack, named: Path | None, extended: bool) -> list[Pair]:
    """The pairs in a file, the pack's whole scenes (``SCENES``), or its fragments."""
    if named is None:
        return pack.pairs(extended)
    return pack.scene_pairs(extended) if str(named) == SCENES else read_pairs(named)


def run_finetune(
    lm: LM,
    config: FinetuneConfig,
    out: Path,
    *,
    pairs_file: Path | None = None,
    texts_file: Path | None = None,
    tasks: Path | None = None,
    check_pairs: bool = True,
    resume: bool = False,
    force: bool = False,
    settings: dict[str, Any] | None = None,
    log: Sequence[str] = (),
    reporter: Reporter | None = None,
) -> Stack:
    """Fine-tunes and writes ``adapters/seed-*`` (PEFT), the history, and latent overlap before and after.

    Args:
      pairs_file: JSON lines, `SCENES` for the pack's whole scenes, or None for its fragments.
      tasks: folder of a task pack; None takes the built-in one.
      check_pairs: first say in how many pairs the two sides lead to different answers.
    """
    pack = pack_of(lm, tasks)
    pairs, probes = training_pairs(pack, pairs_file, config.extended), pack.probes(config.extended)
    prepared = prepare(lm, pairs, config, texts=read_texts(texts_file) if texts_file else [])
    told = _told(lm, settings, finetune=config.as_dict(), pairs=len(pairs), tasks=pack.name)
    job = Job("finetune", LANGUAGE, out, told, resume=resume, force=force, log=log, reporter=reporter)
    if resume:
        check_resumable(job.states, prepared)
    check_probes(lm, probes, chat=config.chat)
    with job:
        if check_pairs and not steps(job.states):  # a run that was begun has said it
            with job.stage("pair_check", "check pairs") as bar:
                checked = pair_check(lm, pairs, config.chat, config.lead, bar).line
            _say(job, checked)
        if not resume:
            _tell_later_power(job, len(config.seeds))
        with job.stage("finetune", "fine-tune") as bar:
            adapters, history = run_prepared(
                prepared, checkpoints=job.states, resume=resume, progress=bar, record=_record(job, prepared)
            )
        _keep_adapters(job.run, lm, adapters)
        latent = _latent(job, lm, probes, config.chat, adapters)
        job.results(latent=latent, training=history.rows())
    return adapters


def run_evaluate(
    lm: LM,
    measure: Measure,
    config: EvalConfig,
    out: Path,
    *,
    adapter_folders: Sequence[Path] = (),
    tasks: Path | None = None,
    resume: bool = False,
    force: bool = False,
    settings: dict[str, Any] | None = None,
    reporter: Reporter | None = None,
) -> list[dict[str, Any]]:
    """Measures base, honesty prompt and adapters on the same scenarios; returns the tidy rows.

    With ``resume`` it goes on behind the last batch of answers of an interrupted run.
    """
    pack = pack_of(lm, tasks)
    questions, texts = _questions(lm, measure, config, pack), measure.texts(pack)
    adapters = load_adapters(lm, adapter_folders) if adapter_folders else None
    hashes = {"texts": digest(content([questions.plain, questions.honest, texts]))}
    hashes["adapters"] = digest(*map(whole, jax.tree.leaves(adapters and adapters.lora)))
    told = _told(
        lm, settings, eval=config.as_dict(), measure=vars(measure), tasks=questions.pack, members=_members(adapters),
        dtype=lm.dtype, hashes=hashes
    )  # fmt: skip
    same = ("model", "dtype", "eval", "measure", "tasks", "members", "hashes")
    job = Job("eval", LANGUAGE, out, told, same=same, resume=resume, force=force, reporter=reporter)
    with job:
        tell_power(job, questions.plain, 1 if adapters is None else len(adapters.members))
        rows = _before(job, lm, measure, questions, config, "eval")
        if adapters is not None:
            rows += _ask(job, lm, questions.plain, config, "soo", "eval", adapters)
        job.results(rows=rows, drift=_drift(job, lm, texts, measure.base, adapters))
    return rows


def run_latent(
    lm: LM,
    out: Path,
    *,
    adapter_folders: Sequence[Path] = (),
    pairs_file: Path | None = None,
    tasks: Path | None = None,
    tokens: str = "last",
    extended: bool = False,
    chat: bool = False,
    force: bool = False,
    settings: dict[str, Any] | None = None,
    reporter: Reporter | None = None,
) -> list[dict[str, Any]]:
    """Layer-wise self/other distance of the base and of adapters; returns the rows."""
    pairs = read_pairs(pairs_file) if pairs_file else pack_of(lm, tasks).probes(extended)
    check_probes(lm, pairs, tokens=tokens, chat=chat)
    adapters = load_adapters(lm, adapter_folders) if adapter_folders else None
    own = {"tokens": tokens, "extended": extended, "chat": chat, "pairs": len(pairs), "members": _members(adapters)}
    with Job("latent", LANGUAGE, out, _told(lm, settings, latent=own), force=force, reporter=reporter) as job:
        rows = _latent(job, lm, pairs, chat, adapters, tokens)
        job.results(latent=rows)
    return rows


def run_demo(
    lm: LM,
    config: FinetuneConfig,
    measure: Measure,
    eval_config: EvalConfig,
    out: Path,
    *,
    force: bool = False,
    settings: dict[str, Any] | None = None,
    log: Sequence[str] = (),
    reporter: Reporter | None = None,
) -> list[dict[str, Any]]:
    """The main job in one folder: measure, fine-tune all seeds, measure again; returns the tidy rows."""
    pack = pack_of(lm)
    probes, texts = pack.probes(config.extended), measure.texts(pack)
    prepared = prepare(lm, pack.pairs(config.extended), config)
    questions = _questions(lm, measure, eval_config, pack)
    told = _told(lm, settings, finetune=config.as_dict(), eval=eval_config.as_dict(), measure=vars(measure))
    with Job("demo", LANGUAGE, out, told, force=force, log=log, reporter=reporter) as job:
        tell_power(job, questions.plain, len(config.seeds))
        rows = _before(job, lm, measure, questions, eval_config, "eval_base")
        with job.stage("finetune", "fine-tune") as bar:
            adapters, history = run_prepared(prepared, progress=bar, record=_record(job, prepared))
        _keep_adapters(job.run, lm, adapters)
        rows += _ask(job, lm, questions.plain, eval_config, "soo", "eval_soo", adapters)
        latent = _latent(job, lm, probes, config.chat, adapters)
        drift = _drift(job, lm, texts, measure.base, adapters)
        job.results(rows=rows, latent=latent, training=history.rows(), drift=drift)
    return rows


def _record(job: Job, prepared: Prepared) -> Record:
    return job.metrics.stage("finetune", columns(prepared.members))


class _Questions(NamedTuple):
    """What is asked, as it is and with the request to be honest; and of which pack it is."""

    plain: list[Scenario]
    honest: list[Scenario]
    pack: str


def _questions(lm: LM, measure: Measure, config: EvalConfig, pack: TaskPack) -> _Questions:
    """Checked before anything is asked. The request goes to scenarios in which somebody asks."""
    plain = measure.scenarios(pack)
    honest: list[Scenario] = []
    if measure.honesty:
        honest = [pack.honesty(scenario) for scenario in plain if scenario.recipient] or list(plain)
    check_scenarios(lm, [*plain, *honest], config)
    return _Questions(plain, honest, pack.name)


def _told(lm: LM, settings: dict[str, Any] | None, **parts: Any) -> dict[str, Any]:
    """What ``config.json`` says of a job about a language model."""
    return {"model": lm.identity, "settings": settings or {}, **parts}


def _before(
    job: Job, lm: LM, measure: Measure, questions: _Questions, config: EvalConfig, stage: str
) -> list[dict[str, Any]]:
    """The model without adapters, and asked to be honest."""
    rows = _ask(job, lm, questions.plain, config, "base", stage) if measure.base else []
    return rows + (_ask(job, lm, questions.honest, config, "honesty_prompt", stage) if measure.honesty else [])


def tell_power(job: Job, scenarios: Sequence[Scenario], seeds: int) -> None:
    """Says, before anything is asked, which differences from the base so many questions and seeds can show."""
    count = min(Counter(scenario.family for scenario in scenarios).values())
    many = f" and {seeds} adapters" if seeds > 1 else ""
    _say(job, f"power: {count} question{'s' * (count != 1)} a family{many} {_shown(count, seeds)}")


def _tell_later_power(job: Job, seeds: int) -> None:
    """The same before a training, of the questions that ``soo eval`` asks unless it is told otherwise."""
    count = 2 * Measure().n
    many = f"{seeds} seeds" if seeds > 1 else "one seed"
    _say(job, f"power: {count} questions a family (soo eval's) and {many} {_shown(count, seeds)}")


def _shown(count: int, seeds: int) -> str:
    return f"show differences of {detectable(count, seeds):.1f} points or more (80 %, at worst)"


def _say(job: Job, line: str) -> None:
    job.run.log(line)
    job.reporter.say(line)


def _ask(
    job: Job,
    lm: LM,
    scenarios: Sequence[Scenario],
    config: EvalConfig,
    condition: str,
    stage: str,
    adapters: Stack | None = None,
) -> list[dict[str, Any]]:
    with job.stage(stage, f"ask: {condition}") as bar:
        done = evaluate(
            lm, scenarios, config, adapters=adapters, condition=condition,
            journal=job.journal(condition), resume=job.resume, progress=bar,
        )  # fmt: skip
    job.run.append_responses(done.responses)
    job.run.log(f"{condition}: {len(done.responses)} responses")
    return done.rows


def _members(adapters: Stack | None) -> list[dict[str, Any]]:
    """The members of a stack with all that they were trained with, for ``config.json``."""
    return [] if adapters is None else [member.as_dict() for member in adapters.members]


def _latent(
    job: Job, lm: LM, pairs: Sequence[Pair], chat: bool, adapters: Stack | None, tokens: str = "last"
) -> list[dict[str, Any]]:
    """Before, and with adapters after."""
    count = 1 if adapters is None else 2
    with job.stage("latent", "latent overlap") as bar:
        bar(0, count)
        rows = latent_overlap(lm, pairs, tokens=tokens, chat=chat)
        bar(1, count)
        if adapters is not None:
            rows += latent_overlap(lm, pairs, adapters=adapters, tokens=tokens, chat=chat)
            bar(2, count)
    return rows


def _drift(job: Job, lm: LM, texts: Sequence[str], base: bool, adapters: Stack | None) -> list[dict[str, Any]]:
    """What ordinary texts say of the model and of its adapters."""
    rows: list[dict[str, Any]] = []
    if texts:
        with job.stage("drift", "ordinary texts") as bar:
            rows += drift_rows(lm, texts) if base else []
            rows += drift_rows(lm, texts, adapters=adapters) if adapters is not None else []
            bar(1, 1)
    return rows


def _keep_adapters(run: RunFolder, lm: LM, adapters: Stack) -> None:
    with run.folder("adapters") as folder:
        save_adapters(folder, lm, adapters)
    for own, frozen in zip(columns(adapters.members), adapters.frozen_at, strict=True):
        if frozen is not None:
            who = ", ".join(f"{name} {value}" for name, value in own.items())
            run.log(f"{who}: not finite at update {frozen}; frozen as it was before")


def with_quick(config: FinetuneConfig) -> FinetuneConfig:
    """The same run in small: two seeds, a few epochs. For trying things out, not for results."""
    return replace(config, seeds=config.seeds[:2], epochs=min(config.epochs, 3))
