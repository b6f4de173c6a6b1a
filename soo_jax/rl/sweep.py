"""Sweeps of agents: seeds times any number of the world, of the baseline's learner and of fine-tuning.

All agents of a stage are one population: what varies is stacked beside seeds and reds.
"""

from __future__ import annotations

import itertools
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, fields
from typing import Any

from soo_jax.errors import SooError
from soo_jax.progress import Progress
from soo_jax.rl.agents import AgentName, Agents, together
from soo_jax.rl.config import LearnerConfig, check_learner
from soo_jax.rl.experiment import finetune, train_baselines
from soo_jax.rl.games import Game, problem
from soo_jax.rl.population import History
from soo_jax.rl.presets import Recipe

PARTS = ("world", "baseline", "finetune")
"""Whose numbers can be varied, in the order in which they matter."""


@dataclass(frozen=True)
class Cell:
    """One combination of values.

    Attributes:
      values: by ``part.name``, as they were given.
    """

    values: tuple[tuple[str, float], ...]

    def of(self, part: str) -> dict[str, float]:
        """The values of one part, by name."""
        return {name.partition(".")[2]: value for name, value in self.values if name.partition(".")[0] == part}

    def without_finetuning(self) -> Cell:
        """What the agents that are fine-tuned here were trained with."""
        return Cell(tuple((name, value) for name, value in self.values if not name.startswith("finetune.")))

    def called(self, condition: str) -> str:
        """The condition's name with the values behind it."""
        told = ", ".join(f"{name.partition('.')[2]} {value:g}" for name, value in self.values)
        return f"{condition} ({told})" if told else condition

    @property
    def row(self) -> dict[str, float]:
        """Columns of a row of results: names alone, with their part in front where two parts have the same."""
        names = [name.partition(".")[2] for name, _ in self.values]
        return {
            name if names.count(name) == 1 else whole: value
            for (whole, value), name in zip(self.values, names, strict=True)
        }


def grid(game: Game, recipe: Recipe, vary: Mapping[str, Sequence[float]]) -> list[Cell]:
    """Every combination of values.

    Args:
      vary: lists of numbers by ``world.sight``, ``baseline.gamma``, ``finetune.soo_weight``, ...

    Raises:
      SooError: nothing is varied, a name is unknown or shapes the program, or a value is out of range.
    """
    if not vary:
        raise SooError("vary: nothing is varied; give numbers, e.g. --vary world.sight=0.25,0.5")
    known = {
        "world": [f.name for f in fields(game.env.default_params) if f.name != "max_steps_in_episode"],
        "baseline": _numbers(recipe.baseline),
        "finetune": _numbers(recipe.finetune),
    }
    for name, values in vary.items():
        part, _, own = name.partition(".")
        if part not in PARTS or own not in known[part]:
            choice = ", ".join(known[part]) if part in PARTS else ", ".join(f"{part}.NAME" for part in PARTS)
            raise SooError(f"vary: {name} is no number that can be varied; choose {choice}")
        if not values or len(set(values)) != len(values):
            raise SooError(f"vary: {name} needs different numbers, found {list(values)}")
    cells = [Cell(tuple(zip(vary, values, strict=True))) for values in itertools.product(*vary.values())]
    for cell in cells:
        if (wrong := problem(game, _world(game, recipe).replace(**cell.of("world")))) is not None:
            raise SooError(f"vary: {wrong}")
        check_learner(recipe.baseline.replace(**cell.of("baseline")))
        check_learner(recipe.finetune.replace(**cell.of("finetune")))
    return cells


def _numbers(config: LearnerConfig) -> list[str]:
    return [field.name for field in fields(config) if isinstance(getattr(config, field.name), float)]


def _world(game: Game, recipe: Recipe) -> Any:
    return game.env.default_params.replace(**recipe.world)


def begun(
    cells: Sequence[Cell], conditions: Sequence[str], seeds: Sequence[int], reds: int
) -> list[tuple[Cell, AgentName]]:
    """Whom :func:`baselines` trains, and with which values."""
    return [
        (cell, AgentName(condition, red, seed))
        for cell in cells
        for condition in conditions
        for red in range(reds)
        for seed in seeds
    ]


def baselines(
    game: Game,
    recipe: Recipe,
    cells: Sequence[Cell],
    conditions: Sequence[str],
    seeds: Sequence[int],
    reds: int,
    followers: Agents | None = None,
    progress: Progress | None = None,
    **running: Any,
) -> tuple[Agents, History]:
    """Trains agents of every condition, red and seed in every cell (``Cell.without_finetuning``, without repetition).

    Returns:
      The agents; the condition of each has the cell's values behind it.
    """
    who = begun(cells, conditions, seeds, reds)
    agents, history = train_baselines(
        game,
        recipe,
        [name for _, name in who],
        followers,
        progress,
        worlds=[cell.of("world") for cell, _ in who],
        configs=[cell.of("baseline") for cell, _ in who],
        **running,
    )
    names = tuple(name._replace(condition=cell.called(name.condition)) for cell, name in who)
    return Agents(names, agents.learner, agents.params), history


def treatable(cells: Sequence[Cell], trained: Agents) -> list[tuple[Cell, AgentName]]:
    """Whom :func:`treated` fine-tunes, under the treatment's name, and with which values."""
    return [
        (cell, name._replace(condition="soo"))
        for cell in cells
        for name in trained.of(cell.without_finetuning().called("deceptive")).names
    ]


def treated(
    game: Game,
    recipe: Recipe,
    cells: Sequence[Cell],
    trained: Agents,
    progress: Progress | None = None,
    **running: Any,
) -> tuple[Agents, History]:
    """Fine-tunes the deceptive agents of every cell by SOO with the cell's settings.

    Args:
      cells: with what varies in fine-tuning. trained: of :func:`baselines`, the deceptive ones of these cells included.
    """
    starts = [trained.of(cell.without_finetuning().called("deceptive")) for cell in cells]
    whole = together([start.called("deceptive") for start in starts])
    who = treatable(cells, trained)
    configs = [cell.of("finetune") for cell, _ in who]
    agents, history = finetune(game, recipe.finetune, whole, ["soo"] * len(whole), progress, configs=configs, **running)
    names = tuple(name._replace(condition=cell.called("soo")) for cell, name in who)
    return Agents(names, agents.learner, agents.params), history
