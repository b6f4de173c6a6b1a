"""What jobs about agents are made of: stages of training, each kept when it is done, and measuring."""

from __future__ import annotations

import json
import warnings
from collections.abc import Callable, Mapping, Sequence
from itertools import pairwise
from typing import Any

import numpy as np

from soo_jax.errors import SooWarning
from soo_jax.jobs.job import Job
from soo_jax.overlap.content import content
from soo_jax.rl.agents import AgentName, Agents, load_agents, save_agents
from soo_jax.rl.evaluation import measure_all
from soo_jax.rl.experiment import like
from soo_jax.rl.games import Game
from soo_jax.rl.learning import NEVER
from soo_jax.rl.population import History
from soo_jax.rl.presets import Recipe

_POINTS = 50
"""Points of a learning curve that are kept of each agent."""


class Stages:
    """Does the stages of training of a run: each ends with a file of agents, and is skipped if the file is there."""

    def __init__(self, job: Job, world: Game, recipe: Recipe, checkpoint_every: int):
        self._job, self._world, self._recipe, self._every = job, world, recipe, checkpoint_every
        self.training: list[dict[str, Any]] = []

    def __call__(
        self,
        name: str,
        names: Sequence[AgentName],
        make: Callable[..., tuple[Agents, History]],
        settings: Sequence[Mapping[str, Any]] = (),
    ) -> Agents:
        """Does a stage, or finds it done.

        Args:
          names: of those that it trains. make: ``(progress, checkpoints=..., record=...) -> agents, history``.
          settings: what else tells them apart, for ``metrics.csv``.
        """
        run = self._job.run
        path, curves = run.path / f"{name}.safetensors", run.path / f"{name}-training.json"
        config = self._recipe.follower if name == "followers" else self._recipe.baseline
        if self._job.resume and path.is_file() and curves.is_file():
            self.training += json.loads(curves.read_text(encoding="utf-8"))
            return load_agents(path, like(self._world, config))
        identity = {"stage": name, "config": content(config), "finetune": content(self._recipe.finetune)}
        with self._job.checkpoints(name, identity, self._every) as states, self._job.stage(name) as bar:
            own = settings or [{}] * len(names)
            members = [{**who._asdict(), **more} for who, more in zip(names, own, strict=True)]
            agents, history = make(bar, checkpoints=states, record=self._job.metrics.stage(name, members))
        rows = training_rows(agents, history)
        self._tell_frozen(agents, history)
        run.write_text(curves.name, json.dumps(rows) + "\n")
        run.claim(path.name)
        save_agents(path, agents, {"stage": name, "preset": self._recipe.name})
        self.training += rows
        return agents

    def _tell_frozen(self, agents: Agents, history: History) -> None:
        frozen = [at for at in history.frozen_at.tolist() if at != NEVER]
        for name, at in zip(agents.names, history.frozen_at.tolist(), strict=True):
            if at != NEVER:
                self._job.run.log(
                    f"{name.condition}, red {name.red}, seed {name.seed}: a number was not finite in iteration "
                    f"{at + 1}; the agent is kept as it was before"
                )
        if frozen:
            warnings.warn(
                f"{len(frozen)} of {len(agents)} agents stopped learning, the first in iteration {min(frozen) + 1}: a "
                f"number was not finite; lower the rates, or see log.txt",
                SooWarning,
                stacklevel=2,
            )


def measure(
    job: Job,
    world: Game,
    everybody: dict[str, tuple[Agents, bool]],
    episodes: int,
    training: Sequence[dict[str, Any]],
    about: Mapping[str, dict[str, Any]] | None = None,
    anchors: Mapping[str, str] | None = None,
) -> None:
    """Measures everybody, and writes the results.

    Args:
      about: what is to stand in the rows of a condition, beside what they say of themselves.
      anchors: which conditions are the deceptive and the honest ones, where they have other names here.
    """
    with job.stage("evaluate") as bar:
        rows, surfaces = measure_all(world, everybody, episodes, bar, anchors)
    job.save_arrays("surfaces.safetensors", surfaces)
    rows = [{**(about or {}).get(row["condition"], {}), **row} for row in rows]
    job.results(rows=rows, training=list(training))


def training_rows(agents: Agents, history: History) -> list[dict[str, Any]]:
    """Learning curves, each thinned to ``_POINTS`` means over as many stretches of the run.

    From where an agent was frozen on, its rows say so.
    """
    total = len(next(iter(history.values.values())))
    edges = np.unique(np.linspace(0, total, min(_POINTS, total) + 1).astype(int))
    rows = []
    for i, name in enumerate(agents.names):
        for begin, end in pairwise(edges.tolist()):
            row: dict[str, Any] = {**name._asdict(), "step": int(end)}
            if NEVER != history.frozen_at[i] < end:
                row["frozen"] = True
            for metric, values in history.values.items():
                mean = float(np.mean(values[begin:end, i]))
                row[metric] = mean if np.isfinite(mean) else None
            rows.append(row)
    return rows


def by_condition(agents: Agents) -> dict[str, tuple[Agents, bool]]:
    return {c: (agents.of(c), False) for c in dict.fromkeys(name.condition for name in agents.names)}
