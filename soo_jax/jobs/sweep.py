"""The job behind ``soo sweep``: many settings of fine-tuning, each measured in the same way."""

from __future__ import annotations

import json
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, replace
from functools import partial
from pathlib import Path
from typing import Any

from soo_jax.adapters import Stack
from soo_jax.adapters.members import RATE, columns
from soo_jax.checkpoints import digest
from soo_jax.errors import SooError, StorageError
from soo_jax.files import read_json
from soo_jax.jobs.job import LANGUAGE, Job
from soo_jax.jobs.language import Measure, evaluation_of, pack_of, tell_power, training_pairs
from soo_jax.llm.config import FinetuneConfig, config_from_dict
from soo_jax.llm.drift import drift_rows
from soo_jax.llm.evaluate import EvalConfig, check_scenarios, evaluate
from soo_jax.llm.finetune import finetune, prepare
from soo_jax.llm.folders import save_adapters
from soo_jax.llm.grid import RULE, SAME, Cell, best, grid
from soo_jax.llm.memory import Texts, room_on_device
from soo_jax.llm.planner import JOBS, most_stacked, planned_mesh
from soo_jax.llm.planner import Work as PlannedWork
from soo_jax.models.lm import LM
from soo_jax.overlap.content import content
from soo_jax.progress import Reporter
from soo_jax.tasks.pack import TaskPack
from soo_jax.tasks.records import Pair, Scenario, read_texts

TABLES = ("rows", "drift", "training")
_PARTS = {"finetune", "vary", "measure"}
AUTO = "auto"
FILE = "sweep"
"""Where ``config.json`` of a run has the file that would do it again."""


@dataclass(frozen=True)
class Sweep:
    """What a sweep file says.

    Attributes:
      cells: what is trained. measure, answers: what is asked of each member, and how.
      file: the parts of a file that says all of this, whatever settings began from.
    """

    cells: tuple[Cell, ...]
    measure: Measure
    answers: EvalConfig
    file: Mapping[str, Any]


def sweep_of(values: Mapping[str, Any], start: FinetuneConfig | None = None) -> Sweep:
    """A sweep from the objects of a file: ``finetune`` (what all have in common), ``vary``, and ``measure``.

    Raises:
      SooError: an unknown part, or whatever is wrong with a setting.
    """
    unknown = sorted(set(values) - _PARTS)
    if unknown:
        raise SooError(f"part {unknown[0]!r} is unknown; a sweep has {', '.join(sorted(_PARTS))}")
    own = dict(values.get("finetune", {}))
    lora = dict(own.get("lora", {}))
    same_layer = lora.get("layers") == SAME
    if same_layer:
        own["lora"] = {name: value for name, value in lora.items() if name != "layers"}
    usual = (Measure(split="validation", honesty=False, n=10), EvalConfig(max_new_tokens=16, margins=False))
    measure, answers = evaluation_of(values.get("measure", {}), usual)
    begin, vary = config_from_dict(own, start), values.get("vary", {})
    whole = begin.as_dict()
    if same_layer:
        whole["lora"]["layers"] = SAME
    file = {"finetune": whole, "vary": vary, "measure": values.get("measure", {})}
    return Sweep(tuple(grid(vary, begin, same_layer)), measure, answers, file)


def run_sweep(
    lm: LM,
    sweep: Sweep,
    out: Path,
    *,
    pairs_file: Path | None = None,
    texts_file: Path | None = None,
    tasks: Path | None = None,
    keep: bool = False,
    stack: int | str | None = None,
    resume: bool = False,
    force: bool = False,
    settings: dict[str, Any] | None = None,
    log: Sequence[str] = (),
    reporter: Reporter | None = None,
) -> list[dict[str, Any]]:
    """Trains and measures every cell; what is complete is kept at once, and is not done again with ``resume``.

    A cell that fails is told in the log, and the others go on. ``best.json`` holds the best setting by ``RULE``.

    Args:
      keep: also write the adapters (PEFT).
      stack: at most so many adapters in one program; ``auto``: as many as fit into memory by the planner; None: all
        that can share one.

    Returns:
      The tidy rows: of the base, if it was measured, and of every member.
    """
    pack = pack_of(lm, tasks)
    parts = {} if stack is None else {"stack": _parts(lm, sweep, pack, pairs_file, stack, out if resume else None)}
    if parts:
        cells = zip(sweep.cells, parts["stack"], strict=True)
        sweep = replace(sweep, cells=tuple(part for cell, most in cells for part in cell.in_parts(most)))
    work = Work.of(lm, sweep, pack, pairs_file, texts_file)
    told = {"model": lm.identity, "settings": settings or {}, **work.told, **parts}
    same = (*SAME_WORK, *parts)
    job = Job("sweep", LANGUAGE, out, told, same=same, resume=resume, force=force, log=log, reporter=reporter)
    with job:
        if sweep.cells and not resume:
            tell_power(job, work.asked, len(sweep.cells[0].config.seeds))
        tables = train_cells(job, lm, work, keep)
        names = list(dict.fromkeys([*(name for cell in sweep.cells for name in cell.names), RATE]))
        after, base = (rows_of(tables["rows"], condition) for condition in ("soo", "base"))
        chosen, worst = best(after, names, pack.controls, base) if after else (None, 0.0)
        told_best = {"rule": RULE, "split": sweep.measure.split, "setting": chosen, "worst": worst}
        job.run.write_text("best.json", json.dumps(told_best, indent=2) + "\n")
        job.results(**tables)
    return tables["rows"]


def _parts(
    lm: LM, sweep: Sweep, pack: TaskPack, pairs_file: Path | None, stack: int | str, begun: Path | None
) -> list[int]:
    """At most how many adapters of each cell are trained in one program; a sweep that has begun stays with its own."""
    if stack != AUTO:
        return [int(stack)] * len(sweep.cells)
    if begun is not None and (begun / "config.json").is_file():
        kept = read_json(begun / "config.json").get("stack")
        if isinstance(kept, list) and len(kept) == len(sweep.cells):
            return kept
    room = room_on_device(lm)
    longest = lambda prompts: max(map(len, lm.token_ids(prompts, chat=False)), default=1)
    asked = longest([lm.put(one.prompt, lm.has_chat_template) for one in sweep.measure.scenarios(pack)])
    found = []
    for cell in sweep.cells:
        pairs = training_pairs(pack, pairs_file, cell.config.extended)
        put = lambda text, cell=cell: lm.put(text, cell.config.chat, cell.config.lead)
        side = longest([put(text) for pair in pairs for text in (pair.self_text, pair.other_text)])
        job = PlannedWork(
            finetune=cell.config, dtype=lm.dtype, pairs=len(pairs), batch=sweep.answers.batch_size,
            texts=Texts(side, asked, sweep.answers.new_tokens),
        )  # fmt: skip
        found.append(min(most_stacked(lm.config, replace(job, job=name), room, planned_mesh(lm.mesh)) for name in JOBS))
    return found


SAME_WORK = ("model", "dtype", "cells", "eval", "measure", "tasks", "hashes")
"""What must be as it was for a sweep to be resumed."""


@dataclass(frozen=True)
class Work:
    """The cells of a sweep with all that they are trained on and asked.

    Attributes:
      pairs: those of each cell. told: what ``config.json`` says of it.
    """

    sweep: Sweep
    pairs: tuple[Sequence[Pair], ...]
    texts: Sequence[str]
    asked: Sequence[Scenario]
    ordinary: Sequence[str]
    told: Mapping[str, Any]

    @classmethod
    def of(cls, lm: LM, sweep: Sweep, pack: TaskPack, pairs_file: Path | None, texts_file: Path | None) -> Work:
        """Reads everything, and refuses what can be refused before anything is trained.

        Raises:
          SooError: a cell that cannot be trained, by its name, or a scenario that cannot be asked.
        """
        texts = read_texts(texts_file) if texts_file else []
        pairs = tuple(training_pairs(pack, pairs_file, cell.config.extended) for cell in sweep.cells)
        for cell, own in zip(sweep.cells, pairs, strict=True):
            try:
                prepare(lm, own, cell.config, texts=texts, members=cell.members)
            except SooError as error:
                raise SooError(f"{cell.title}: {error}") from error
        asked, ordinary = sweep.measure.scenarios(pack), sweep.measure.texts(pack)
        check_scenarios(lm, asked, sweep.answers)
        told = {
            "cells": [cell.as_dict() for cell in sweep.cells], "eval": sweep.answers.as_dict(),
            "measure": vars(sweep.measure), "tasks": pack.name, "rule": RULE, "dtype": lm.dtype, FILE: sweep.file,
            "hashes": {"texts": digest(content([*pairs, texts, asked, ordinary]))},
        }  # fmt: skip
        return cls(sweep, pairs, texts, asked, ordinary, told)


def train_cells(job: Job, lm: LM, work: Work, keep: bool = False) -> dict[str, list[dict[str, Any]]]:
    """Trains and measures every cell, as :func:`run_sweep` says; returns the tables."""
    done: dict[str, dict[str, Any]] = {}
    cells = work.sweep.cells
    if work.sweep.measure.base:
        done["base"] = job.once("base", lambda: _base(job, lm, work))
    for i, (cell, pairs) in enumerate(zip(cells, work.pairs, strict=True)):
        title = f"{i + 1} of {len(cells)}: {cell.title}"
        try:
            do = partial(_cell, job, lm, cell, title, pairs, work, keep)
            done[cell.key] = job.once(cell.key, do)
        except StorageError:  # of no cell's making: resumed, all of them can be done
            raise
        except SooError as error:
            job.run.log(f"{title}: failed: {error}")
            job.reporter.say(f"{cell.title}: failed: {error}")
    if cells and not any(cell.key in done for cell in cells):
        raise SooError(f"{job.kept}: every combination failed; {job.run.path / 'log.txt'} says why")
    for part in done.values():
        job.run.append_responses(part["responses"])
    return {name: [row for part in done.values() for row in part[name]] for name in TABLES}


def rows_of(rows: Sequence[dict[str, Any]], condition: str) -> list[dict[str, Any]]:
    """The rows of one condition."""
    return [row for row in rows if row["condition"] == condition]


def _base(job: Job, lm: LM, work: Work) -> dict[str, Any]:
    with job.stage("eval", "ask: base") as bar:
        done = evaluate(
            lm, work.asked, work.sweep.answers, condition="base",
            journal=job.journal("base"), resume=job.resume, progress=bar,
        )  # fmt: skip
    drift = drift_rows(lm, work.ordinary) if work.ordinary else []
    return {"rows": done.rows, "drift": drift, "training": [], "responses": done.responses}


def _cell(
    job: Job,
    lm: LM,
    cell: Cell,
    title: str,
    pairs: Sequence[Pair],
    work: Work,
    keep: bool,
) -> dict[str, Any]:
    states = job.states / cell.key
    with job.stage("finetune", title) as bar:
        adapters, history = finetune(
            lm,
            pairs,
            cell.config,
            texts=work.texts,
            members=cell.members,
            checkpoints=states,
            resume=job.resume,
            progress=bar,
            record=job.metrics.stage(title, [cell.row(row) for row in columns(cell.everybody)]),
        )
    with job.stage("eval", f"{title}: ask") as bar:
        done = evaluate(
            lm, work.asked, work.sweep.answers, adapters=adapters, condition="soo",
            journal=job.journal(cell.key), resume=job.resume, progress=bar,
        )  # fmt: skip
    drift = drift_rows(lm, work.ordinary, adapters=adapters) if work.ordinary else []
    if keep:
        _keep(job, lm, cell, adapters)
    own = {"rows": done.rows, "drift": drift, "training": history.rows(), "responses": done.responses}
    return {name: [cell.row(row) for row in rows] for name, rows in own.items()}


def _keep(job: Job, lm: LM, cell: Cell, adapters: Stack) -> None:
    told = [f"{name}-{value}" for name, value in cell.varied] + ([cell.part.replace(" ", "-")] if cell.part else [])
    folder = f"adapters/{'-'.join(told) or 'all'}".replace(",", "_")
    with job.run.folder(folder) as part:
        save_adapters(part, lm, adapters)
