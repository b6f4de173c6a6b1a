"""The jobs of the command line, each writing one run folder: fine-tune, evaluate, latent overlap, and the demo."""

from __future__ import annotations

import json
import shutil
from collections.abc import Sequence
from dataclasses import dataclass, replace
from pathlib import Path
from typing import Any

from soo_jax.adapters import Stack
from soo_jax.adapters.members import columns
from soo_jax.errors import SooError
from soo_jax.files import read_json_lines
from soo_jax.llm.config import FinetuneConfig
from soo_jax.llm.evaluate import EvalConfig, evaluate
from soo_jax.llm.evaluate import check as check_evaluation
from soo_jax.llm.finetune import check_resumable, prepare, run_prepared, save_adapters
from soo_jax.llm.folders import load_adapters
from soo_jax.llm.latent import check as check_latent
from soo_jax.llm.latent import latent_overlap
from soo_jax.models.lm import LM
from soo_jax.progress import Clock, Reporter
from soo_jax.runs import RunFolder, provenance
from soo_jax.tasks.pack import TaskPack, pack_for, read_pack
from soo_jax.tasks.records import Pair, Scenario, read_pairs, read_scenarios

SCENES = "scenes"
"""In place of a file of pairs: the built-in ones that are whole scenes."""


def pack_of(lm: LM, tasks: Path | None = None) -> TaskPack:
    """The task pack in a folder; without one the built-in pack that fits the model."""
    return read_pack(tasks) if tasks is not None else pack_for(lm.tokenizer.get_vocab(), lm.folder)


@dataclass(frozen=True)
class Measure:
    """What ``soo eval`` asks.

    Attributes:
      scenarios_file: the user's own; None takes the pack's.
      families, n, seed, split: of the pack's.
      honesty: also measure the honesty-prompt baseline. base: also measure the model without adapters.
    """

    scenarios_file: Path | None = None
    families: tuple[str, ...] | None = None
    n: int = 250
    seed: int = 0
    split: str = "test"
    honesty: bool = True
    base: bool = True

    def scenarios(self, pack: TaskPack) -> list[Scenario]:
        """The scenarios to ask."""
        if self.scenarios_file is not None:
            return read_scenarios(self.scenarios_file)
        return pack.scenarios(self.families, self.n, self.seed, self.split)


def read_texts(path: Path | None) -> list[str]:
    """Ordinary texts from JSON lines ``{"text": ...}``, for terms that keep ability."""

    def parse(row: dict[str, Any]) -> str:
        text = row.get("text")
        if not isinstance(text, str) or not text.strip():
            raise ValueError('"text" must be a string that is not empty')
        return text

    return [] if path is None else read_json_lines(path, parse, '{"text": "..."}')


def _training_pairs(pack: TaskPack, named: Path | None, extended: bool) -> list[Pair]:
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
    resume: bool = False,
    force: bool = False,
    settings: dict[str, Any] | None = None,
    reporter: Reporter | None = None,
) -> Stack:
    """Fine-tunes and writes ``adapters/seed-*`` (PEFT), the history, and latent overlap before and after.

    ``pairs_file``: JSON lines, `SCENES` for the pack's whole scenes, or None for its fragments. ``tasks``: folder of a
    task pack; None takes the built-in one. Everything that can be refused is refused before the run folder is touched.
    """
    reporter, clock = reporter or Reporter(), Clock()
    pack = pack_of(lm, tasks)
    pairs = _training_pairs(pack, pairs_file, config.extended)
    probes = pack.probes(config.extended)
    texts = read_texts(texts_file)
    states = out / "checkpoints"
    prepared = prepare(lm, pairs, config, texts=texts)
    if resume:
        check_resumable(states, prepared)
    check_latent(lm, probes, chat=config.chat)
    folder = RunFolder.reopen(out) if resume else RunFolder.create(out, force)
    with folder as run:
        run.write_config(_config("finetune", lm, settings, finetune=config.as_dict(), pairs=len(pairs)))
        with clock("finetune"):
            adapters, history = run_prepared(
                prepared, checkpoints=states, resume=resume, progress=reporter.task("fine-tune")
            )
        _keep_adapters(run, lm, adapters)
        with clock("latent"):
            latent = _latent(lm, probes, config, adapters, reporter)
        run.write_results({"job": "finetune", "latent": latent, "training": history.rows(), "timings": clock.seconds})
    shutil.rmtree(states, ignore_errors=True)  # only now that the run is complete: until then it can be resumed
    return adapters


def run_evaluate(
    lm: LM,
    measure: Measure,
    config: EvalConfig,
    out: Path,
    *,
    adapter_folders: Sequence[Path] = (),
    tasks: Path | None = None,
    force: bool = False,
    settings: dict[str, Any] | None = None,
    reporter: Reporter | None = None,
) -> list[dict[str, Any]]:
    """Measures base, honesty prompt and adapters on the same scenarios; returns the tidy rows."""
    reporter, clock = reporter or Reporter(), Clock()
    pack = pack_of(lm, tasks)
    scenarios = measure.scenarios(pack)
    honest = _honest(pack, scenarios) if measure.honesty else []
    check_evaluation(lm, [*scenarios, *honest], config)
    adapters = load_adapters(lm, adapter_folders) if adapter_folders else None
    rows: list[dict[str, Any]] = []
    with RunFolder.create(out, force) as run:
        run.write_config(
            _config("eval", lm, settings, eval=config.as_dict(), measure=vars(measure), members=_told(adapters))
        )
        with clock("eval"):
            if measure.base:
                rows += _measure(run, lm, scenarios, config, "base", reporter)
            if measure.honesty:
                rows += _measure(run, lm, honest, config, "honesty_prompt", reporter)
            if adapters is not None:
                rows += _measure(run, lm, scenarios, config, "soo", reporter, adapters)
        run.write_results({"job": "eval", "rows": rows, "timings": clock.seconds})
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
) -> list[dict[str, Any]]:
    """Layer-wise self/other distance of the base and of adapters; returns the rows."""
    clock = Clock()
    pairs = read_pairs(pairs_file) if pairs_file else pack_of(lm, tasks).probes(extended)
    check_latent(lm, pairs, tokens=tokens, chat=chat)
    adapters = load_adapters(lm, adapter_folders) if adapter_folders else None
    with RunFolder.create(out, force) as run:
        own = {"tokens": tokens, "extended": extended, "chat": chat, "pairs": len(pairs), "members": _told(adapters)}
        run.write_config(_config("latent", lm, settings, latent=own))
        with clock("latent"):
            rows = latent_overlap(lm, pairs, tokens=tokens, chat=chat)
            if adapters is not None:
                rows += latent_overlap(lm, pairs, adapters=adapters, tokens=tokens, chat=chat)
        run.write_results({"job": "latent", "latent": rows, "timings": clock.seconds})
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
    reporter: Reporter | None = None,
) -> list[dict[str, Any]]:
    """The main job in one folder: measure, fine-tune all seeds, measure again; returns the tidy rows."""
    reporter, clock = reporter or Reporter(), Clock()
    pack = pack_of(lm)
    scenarios, probes = measure.scenarios(pack), pack.probes(config.extended)
    honest = _honest(pack, scenarios) if measure.honesty else []
    prepared = prepare(lm, pack.pairs(config.extended), config)
    check_evaluation(lm, [*scenarios, *honest], eval_config)
    rows: list[dict[str, Any]] = []
    with RunFolder.create(out, force) as run:
        run.write_config(
            _config("demo", lm, settings, finetune=config.as_dict(), eval=eval_config.as_dict(), measure=vars(measure))
        )
        with clock("eval_base"):
            rows += _measure(run, lm, scenarios, eval_config, "base", reporter)
            if measure.honesty:
                rows += _measure(run, lm, honest, eval_config, "honesty_prompt", reporter)
        with clock("finetune"):
            adapters, history = run_prepared(prepared, progress=reporter.task("fine-tune"))
        _keep_adapters(run, lm, adapters)
        with clock("eval_soo"):
            rows += _measure(run, lm, scenarios, eval_config, "soo", reporter, adapters)
        with clock("latent"):
            latent = _latent(lm, probes, config, adapters, reporter)
        run.write_results(
            {
                "job": "demo",
                "rows": rows,
                "latent": latent,
                "training": history.rows(),
                "timings": clock.seconds,
            }
        )
    return rows


def _config(job: str, lm: LM, settings: dict[str, Any] | None, **parts: Any) -> dict[str, Any]:
    model = {"name": lm.name, "architecture": lm.config.architecture, "fingerprint": lm.fingerprint}
    return {"job": job, "model": model, "settings": settings or {}, **parts, "provenance": provenance()}


def _measure(
    run: RunFolder,
    lm: LM,
    scenarios: Sequence[Scenario],
    config: EvalConfig,
    condition: str,
    reporter: Reporter,
    adapters: Stack | None = None,
) -> list[dict[str, Any]]:
    done = evaluate(
        lm,
        scenarios,
        config,
        adapters=adapters,
        condition=condition,
        progress=reporter.task(f"ask: {condition}"),
    )
    run.append_responses(done.responses)
    run.log(f"{condition}: {len(done.responses)} responses")
    return done.rows


def _honest(pack: TaskPack, scenarios: Sequence[Scenario]) -> list[Scenario]:
    """The scenarios in which somebody asks, with the request to be honest to them."""
    return [pack.honesty(scenario) for scenario in scenarios if scenario.recipient] or list(scenarios)


def _told(adapters: Stack | None) -> list[dict[str, Any]]:
    """The members of a stack with all that they were trained with, for ``config.json``."""
    return [] if adapters is None else [member.as_dict() for member in adapters.members]


def _latent(
    lm: LM, pairs: Sequence[Pair], config: FinetuneConfig, adapters: Stack, reporter: Reporter
) -> list[dict[str, Any]]:
    """Before and after, on held-out probe pairs of the form that was trained on."""
    bar = reporter.task("latent overlap")
    bar(0, 2)
    rows = latent_overlap(lm, pairs, chat=config.chat)
    bar(1, 2)
    rows += latent_overlap(lm, pairs, adapters=adapters, chat=config.chat)
    bar(2, 2)
    return rows


def _keep_adapters(run: RunFolder, lm: LM, adapters: Stack) -> None:
    save_adapters(run.path / "adapters", lm, adapters)
    run.claim("adapters")
    for own, frozen in zip(columns(adapters.members), adapters.frozen_at, strict=True):
        if frozen is not None:
            who = ", ".join(f"{name} {value}" for name, value in own.items())
            run.log(f"{who}: not finite at update {frozen}; frozen as it was before")


def with_quick(config: FinetuneConfig) -> FinetuneConfig:
    """The same run in small: two seeds, a few epochs. For trying things out, not for results."""
    return replace(config, seeds=config.seeds[:2], epochs=min(config.epochs, 3))


_CONFIG_FILE = "a config file is a JSON object of settings, or the config.json of a run"


def read_config_file(path: Path) -> dict[str, Any]:
    """Settings from a JSON file, or from the ``config.json`` of a run folder that is to be repeated."""
    try:
        raw = json.loads(path.read_text(encoding="utf-8"))
    except FileNotFoundError as error:
        raise SooError(f"{path}: no such file; {_CONFIG_FILE}") from error
    except (OSError, UnicodeDecodeError, json.JSONDecodeError) as error:
        raise SooError(f"{path}: not valid JSON ({error}); {_CONFIG_FILE}") from error
    if not isinstance(raw, dict):
        raise SooError(f"{path}: holds no JSON object; {_CONFIG_FILE}")
    if "job" not in raw:
        return raw
    if not isinstance(raw.get("finetune"), dict):
        raise SooError(f"{path}: is of a run that trained nothing; give the config.json of a fine-tuning run")
    return raw["finetune"]
