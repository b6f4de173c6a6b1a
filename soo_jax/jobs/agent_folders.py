"""Run folders that hold agents: which there are, and the recipe that made them."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import fields, replace
from pathlib import Path
from typing import Any

from soo_jax.errors import SooError
from soo_jax.overlap.content import content
from soo_jax.rl.agents import Agents, load_agents, read_about, together
from soo_jax.rl.config import LearnerConfig, changed
from soo_jax.rl.experiment import like
from soo_jax.rl.games import game
from soo_jax.rl.presets import Recipe, preset
from soo_jax.runs import read_run

AGENTS_FILE = "agents.safetensors"
OBJECTIVE = "objective"
"""A setting that is told by its content, and read from the preset: code is not read back from files."""
UNREAD = (OBJECTIVE, "scripted")
FOLLOWER = "follower."
"""What precedes a setting of the learner that is trained before the baseline."""


def read_agents(source: Path) -> tuple[Agents, Recipe]:
    """All agents of a run folder, and the recipe that made them.

    Raises:
      SooError: the folder holds no agents, or those of another config.
    """
    run = read_run(source)
    recipe = _recipe_of(source, run.config)
    files = [source / name for name in (AGENTS_FILE, "baselines.safetensors", "finetuned.safetensors")]
    files = [path for path in files if path.is_file()]
    if not files:
        read_about(source / AGENTS_FILE)
    parts = [load_agents(path, like(game(recipe.game), recipe.baseline)) for path in files]
    return together(parts), recipe


def changed_settings(source: Path, recipe: Recipe) -> dict[str, Any]:
    """What the run's agents were trained with in other measure than their preset says, setting by setting."""
    usual = preset(recipe.name)
    tuned = read_run(source).config["job"] == "rl-finetune"
    mine, theirs = (recipe.finetune, usual.finetune) if tuned else (recipe.baseline, usual.baseline)
    own = ((f.name, getattr(mine, f.name), getattr(theirs, f.name)) for f in fields(mine) if f.name != OBJECTIVE)
    flat = lambda value: ",".join(map(str, value)) if isinstance(value, tuple) else value
    return {name: flat(value) for name, value, known in own if value != known}


def described(recipe: Recipe) -> dict[str, Any]:
    """A recipe as plain values, which :func:`read_agents` reads back."""

    def own(config: LearnerConfig | None) -> dict[str, Any] | None:
        return config and {f.name: getattr(config, f.name) for f in fields(config)} | {
            OBJECTIVE: content(config.objective)
        }

    return {
        "world": recipe.world,
        "follower_world": recipe.follower_world,
        "follower": own(recipe.follower),
        "baseline": own(recipe.baseline),
        "finetune": own(recipe.finetune),
    }


def settings_of(recipe: Mapping[str, Any], part: str) -> dict[str, Any]:
    """Settings by name out of the recipe in a run's ``config.json``, as they can be given again.

    Args:
      part: ``baseline``, with those of the learner before it as ``follower.NAME``, or ``finetune``.
    """
    plain = lambda values: {name: value for name, value in (values or {}).items() if name not in UNREAD}
    found = plain(recipe.get(part))
    if part == "baseline":
        found |= {f"{FOLLOWER}{name}": value for name, value in plain(recipe.get("follower")).items()}
    return found


def _recipe_of(source: Path, config: dict[str, Any]) -> Recipe:
    """The recipe with the settings that a run was made with.

    Raises:
      SooError: the run trained no agents.
    """
    if "preset" not in config or "recipe" not in config:
        raise SooError(f"{source}: trained no agents; give a run of soo rl train, finetune or reproduce")
    recipe, told = preset(config["preset"]), config["recipe"]

    def restored(config: LearnerConfig | None, values: dict[str, Any] | None) -> LearnerConfig | None:
        if config is None or values is None:
            return config
        # What an earlier version did not know was not at work: its default stands for it, not what the preset says now.
        usual = {f.name: getattr(type(config)(), f.name) for f in fields(config)}
        return changed(config, {name: value for name, value in (usual | values).items() if name not in UNREAD})

    # Earlier versions knew one game, called its baseline by its agent, and its world by the only number that changed.
    world = told["world"] if "world" in told else {"deception_bonus": told["bonus"]}
    return replace(
        recipe,
        world=world,
        follower=restored(recipe.follower, told["follower"]),
        baseline=restored(recipe.baseline, told.get("baseline", told.get("blue"))),
        finetune=restored(recipe.finetune, told["finetune"]),
    )
