"""Metrics while a run trains: ``metrics.csv`` in its folder, and programs that draw curves."""

from __future__ import annotations

import csv
import io
import re
from collections.abc import Callable, Mapping, Sequence
from typing import Any

import numpy as np

from soo_jax.files import append_whole, disk_error, write_atomically
from soo_jax.run_reading import METRICS
from soo_jax.runs import RunFolder
from soo_jax.trackers import Tracker

LINES = 20_000
"""A stage of training has no more lines than about so many: where steps times members are more, a line is a mean."""

Record = Callable[[int, Mapping[str, np.ndarray]], None]
"""Called between device calls with the steps done and ``{metric: [steps, members]}``: the whole training's arrays, of
which rows behind the steps done are not read."""

_STAGE, _STEP = "stage", "step"


class Metrics:
    """The metrics of a run, written as they come. One line a step and member; a metric that a stage lacks is empty.

    The loops of training hand over all that they know each time. So a run that is resumed says again what was known
    when its state was saved: the lines of the stage give way to it, and none is there twice or missing.
    """

    def __init__(self, run: RunFolder, trackers: Sequence[Tracker] = ()):
        self._run, self._trackers = run, trackers
        self._columns: list[str] = []

    def stage(self, name: str, members: Sequence[Mapping[str, Any]]) -> Record:
        """What a stage of training calls.

        Args:
          members: what tells apart those that are trained side by side (seed, learning rate, condition, ...).
        """
        written = -1

        def record(done: int, values: Mapping[str, np.ndarray]) -> None:
            nonlocal written
            if written < 0:
                self._begin(name, [_STAGE, _STEP, *dict.fromkeys(key for one in members for key in one), *values])
                written = 0
            total = len(next(iter(values.values())))
            every = -(-total * len(members) // LINES)
            ends = [end for end in range(written + 1, done + 1) if end % every == 0 or end == total]
            rows = []
            for end in ends:
                begin = (end - 1) // every * every
                with np.errstate(all="ignore"):  # what is not finite is written as it is
                    means = {metric: array[begin:end].mean(0) for metric, array in values.items()}
                told = [{metric: float(mean[i]) for metric, mean in means.items()} for i in range(len(members))]
                rows += [
                    {_STAGE: name, _STEP: end, **one, **{metric: f"{value:.7g}" for metric, value in own.items()}}
                    for one, own in zip(members, told, strict=True)
                ]
                for tracker in self._trackers:
                    tracker.log(name, end, dict(zip(map(label, members), told, strict=True)))
                written = end
            if rows:
                append_whole(self._run.path / METRICS, _lines(self._columns, rows), sync=False)

        return record

    def close(self, failed: bool) -> None:
        """Ends what the trackers have begun."""
        for tracker in self._trackers:
            tracker.close(failed)

    def _begin(self, stage: str, columns: Sequence[str]) -> None:
        """Makes room for a stage: drops what is there of it, and adds the columns that are new."""
        self._run.claim(METRICS)
        there = [row for row in self._there() if row.get(_STAGE) != stage]
        self._columns = list(dict.fromkeys([*self._columns, *columns]))
        write_atomically(
            self._run.path / METRICS, _lines(self._columns, [{name: name for name in self._columns}, *there])
        )
        for tracker in self._trackers:
            tracker.begin(self._run, stage)

    def _there(self) -> list[dict[str, str]]:
        """The whole lines of the file; a kill may have torn the last."""
        try:
            text = (self._run.path / METRICS).read_text(encoding="utf-8", errors="replace")
        except FileNotFoundError:
            return []
        except OSError as error:
            raise disk_error(self._run.path / METRICS, error) from error
        header, *rows = list(csv.reader(io.StringIO(text[: text.rfind("\n") + 1]))) or [[]]
        self._columns = header
        return [dict(zip(header, row, strict=True)) for row in rows if len(row) == len(header)]


def label(member: Mapping[str, Any]) -> str:
    """A member in the name of a curve: ``deceptive-red_0-seed_1``."""
    told = [str(value) if name == "condition" else f"{name}_{value}" for name, value in member.items()]
    return re.sub(r"[^\w.-]+", "_", "-".join(told)) or "all"


def _lines(columns: Sequence[str], rows: Sequence[Mapping[str, Any]]) -> str:
    text = io.StringIO()
    csv.DictWriter(text, columns, restval="", lineterminator="\n").writerows(rows)
    return text.getvalue()
