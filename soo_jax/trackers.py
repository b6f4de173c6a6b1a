"""Programs that draw curves while a run trains, through their own clients: TensorBoard, Weights & Biases."""

from __future__ import annotations

import importlib
import importlib.util
import json
import os
import re
import shutil
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any, Protocol

from soo_jax.errors import SooError
from soo_jax.runs import RunFolder
from soo_jax.tidy import named

Told = Mapping[str, Mapping[str, float]]
"""``{member: {metric: value}}``."""


class Tracker(Protocol):
    """Where metrics also go."""

    def begin(self, run: RunFolder, stage: str) -> None:
        """A stage begins, or is said again from its first step on."""

    def log(self, stage: str, step: int, told: Told) -> None:
        """What all members were like in a step."""

    def close(self, failed: bool) -> None:
        """The run is over."""


class TensorBoard:
    """Event files in the run's own folder, ``tensorboard/STAGE``: ``tensorboard --logdir RUN`` reads them."""

    def __init__(self, name: str, config: Mapping[str, Any]):
        self._client = importlib.import_module(_CLIENTS["tensorboard"])
        self._writer: Any = None

    def begin(self, run: RunFolder, stage: str) -> None:
        """What an interrupted run wrote of this stage is written again, and goes."""
        self.close(False)
        place = Path("tensorboard") / _file(stage)
        shutil.rmtree(run.path / place, ignore_errors=True)
        self._writer = self._client.SummaryWriter(str(run.path / place))
        run.claim(*(str(place / path.name) for path in (run.path / place).iterdir()))

    def log(self, stage: str, step: int, told: Told) -> None:
        for member, metrics in told.items():
            for name, value in metrics.items():
                self._writer.add_scalar(f"{name}/{member}", value, step)
        self._writer.flush()

    def close(self, failed: bool) -> None:
        if self._writer is not None:
            self._writer.close()


class WeightsAndBiases:
    """A run of the project ``soo-jax``, unless ``WANDB_PROJECT`` says another. ``WANDB_MODE=offline`` sends nothing.

    A run that is resumed is another run of the same group.
    """

    def __init__(self, name: str, config: Mapping[str, Any]):
        client = importlib.import_module(_CLIENTS["wandb"])
        try:
            self._run = client.init(
                project=os.environ.get("WANDB_PROJECT", "soo-jax"), name=name, group=name, config=config
            )
        except Exception as error:  # it has many kinds, and not all are of its own class
            said = str(error).strip().split("\n")[0].rstrip(".") or type(error).__name__
            raise SooError(f"--log wandb: {said} (WANDB_MODE=offline needs no key and sends nothing)") from error

    def begin(self, run: RunFolder, stage: str) -> None:
        self._run.define_metric(f"{_file(stage)}/*", step_metric=f"{_file(stage)}/step")

    def log(self, stage: str, step: int, told: Told) -> None:
        place = _file(stage)
        values = {
            f"{place}/{name}/{member}": value for member, metrics in told.items() for name, value in metrics.items()
        }
        self._run.log({f"{place}/step": step, **values})

    def close(self, failed: bool) -> None:
        self._run.finish(exit_code=int(failed))


_CLIENTS = {"tensorboard": "tensorboardX", "wandb": "wandb"}
_TRACKERS = {"tensorboard": TensorBoard, "wandb": WeightsAndBiases}


def check_trackers(names: Sequence[str]) -> tuple[str, ...]:
    """The names, once each.

    Raises:
      SooError: one is unknown, or its client is not installed.
    """
    for name in names:
        if name not in _CLIENTS:
            raise SooError(f"--log {name}: is unknown; choose {', '.join(_CLIENTS)}")
        if importlib.util.find_spec(_CLIENTS[name]) is None:
            raise SooError(
                f"--log {name}: needs {_CLIENTS[name]}, which is not installed: pip install 'soo-jax[{name}]'"
            )
    return tuple(dict.fromkeys(names))


def open_trackers(names: Sequence[str], run: str, config: Mapping[str, Any]) -> list[Tracker]:
    """Opens trackers by name, for a run of that name and what was set.

    Raises:
      SooError: as :func:`check_trackers` does, or a client refuses.
    """
    plain = json.loads(json.dumps(config, default=named))
    return [_TRACKERS[name](run, plain) for name in check_trackers(names)]


def _file(stage: str) -> str:
    """A stage as the name of a folder."""
    return re.sub(r"[^\w.-]+", "_", stage)
