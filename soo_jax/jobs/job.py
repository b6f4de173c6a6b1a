"""The job record: how every job opens its folder, keeps states, resumes, says how far it is, and closes."""

from __future__ import annotations

import json
import shutil
import tempfile
from collections.abc import Callable, Iterator, Mapping, Sequence
from contextlib import contextmanager
from pathlib import Path
from types import TracebackType
from typing import Any

import numpy as np

from soo_jax.checkpoints import Checkpoints
from soo_jax.distributed import is_first
from soo_jax.errors import SooError
from soo_jax.files import read_json
from soo_jax.metrics import Metrics
from soo_jax.progress import Clock, Progress, Reporter
from soo_jax.runs import STATES_FOLDER, RunFolder, provenance, read_run
from soo_jax.trackers import check_trackers, open_trackers

LANGUAGE, AGENTS = "language model", "agents"
"""What a job is about; reports are drawn by it."""


class Job:
    """One run of the program. Use as a context manager: entering opens the folder and writes ``config.json``; leaving
    marks how it ended, and forgets unfinished work if it ended well.

    Nothing is touched before it is entered, so that whatever can be refused should be refused before.

    Args:
      name: of the job, e.g. ``finetune``. about: ``LANGUAGE`` or ``AGENTS``.
      out: the run folder. told: all that was set, for ``config.json``.
      same: names in ``told`` that must be as they were when the run was begun, if it is to be resumed.
      log: where metrics go beside ``metrics.csv``: ``tensorboard``, ``wandb``.

    Attributes:
      run: the folder, once entered. reporter: where progress is said. resume: whether an interrupted run goes on.
      metrics: of its trainings, once entered.
    """

    run: RunFolder
    metrics: Metrics
    _aside: Path | None = None

    def __init__(
        self,
        name: str,
        about: str,
        out: Path,
        told: Mapping[str, Any],
        *,
        same: Sequence[str] = (),
        resume: bool = False,
        force: bool = False,
        log: Sequence[str] = (),
        reporter: Reporter | None = None,
    ):
        self._log = check_trackers(log)
        self.name, self.resume, self.reporter = name, resume, reporter or Reporter()
        self._out, self._force, self._same, self._clock = Path(out), force, tuple(same), Clock()
        self._told = {"job": name, "about": about, **told, "provenance": provenance()}

    def __enter__(self) -> Job:
        if self.resume:
            self._check_begun()
        if not is_first():  # one process writes; what the others write is thrown away
            self._aside = Path(tempfile.mkdtemp(prefix="soo-"))
            self.run = RunFolder.create(self._aside / self._out.name)
            self.metrics = Metrics(self.run)
        else:
            self.run, self.metrics = self._open()
        self.run.write_config(self._told)
        return self

    def _open(self) -> tuple[RunFolder, Metrics]:
        """Trackers come first: they may refuse, and then nothing has been touched."""
        trackers = open_trackers(self._log, self._out.resolve().name, self._told)
        try:
            run = RunFolder.reopen(self._out) if self.resume else RunFolder.create(self._out, self._force)
        except BaseException:
            for tracker in trackers:
                tracker.close(failed=True)
            raise
        return run, Metrics(run, trackers)

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        try:
            self.metrics.close(failed=kind is not None)
        finally:
            self.run.__exit__(kind, error, trace)
        if self._aside is not None:
            shutil.rmtree(self._aside, ignore_errors=True)

    @property
    def kept(self) -> Path:
        """What is there of an interrupted run, which every process reads and the first one writes."""
        return self._out

    @property
    def states(self) -> Path:
        """Where the states of unfinished work lie."""
        return self._out / STATES_FOLDER

    def journal(self, name: str) -> Path:
        """Where the answers of an unfinished evaluation are kept as they come."""
        return self.states / "answers" / f"{name}.jsonl"

    def once(self, name: str, do: Callable[[], dict[str, Any]]) -> dict[str, Any]:
        """What a part of the job gave, in plain JSON values: from its file if it was done before an interruption."""
        path = self.kept / "cells" / f"{name}.json"
        if self.resume and path.is_file():
            return read_json(path)
        found = do()
        self.run.write_text(f"cells/{name}.json", json.dumps(found, ensure_ascii=False) + "\n")
        return found

    @contextmanager
    def stage(self, name: str, title: str | None = None) -> Iterator[Progress]:
        """A named part: its seconds stand in the results, its progress under ``title``."""
        with self._clock(name):
            yield self.reporter.task(title or name)

    @contextmanager
    def checkpoints(self, name: str, identity: dict[str, Any], every: int) -> Iterator[Checkpoints]:
        """The saved states of a stage; those of an earlier run are forgotten, unless it is this one that goes on."""
        kept = Checkpoints(self.states / name, identity, every)
        try:
            if not self.resume:
                kept.clear()
            yield kept
        finally:
            kept.close()

    def save_arrays(self, name: str, arrays: Mapping[str, np.ndarray]) -> None:
        """Writes arrays as float32 safetensors beside the results, if there are any."""
        from safetensors.numpy import save

        if arrays:
            self.run.write_bytes(
                name, save({key: np.ascontiguousarray(value, np.float32) for key, value in arrays.items()})
            )

    def results(self, **tables: list[dict[str, Any]]) -> None:
        """Writes the tables of the results (docs/data.md), and how long the parts took."""
        self.run.write_results({"job": self.name, **tables, "timings": self._clock.seconds})

    def _check_begun(self) -> None:
        begun = read_run(self._out).config
        asked = json.loads(json.dumps(self._told, default=str))
        differing = [name for name in ("job", *self._same) if begun.get(name) != asked.get(name)]
        if begun and differing:
            raise SooError(
                f"{self._out}: this run was begun with other settings ({', '.join(differing)}); resume with the "
                "same, or start anew (--force in place of --resume)"
            )
