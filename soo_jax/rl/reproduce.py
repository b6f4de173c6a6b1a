"""The whole experiment: baselines, SOO fine-tuning, controls, and the tests that tell honesty from blindness."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from dataclasses import dataclass, replace
from typing import Any

import jax

from soo_jax.progress import Progress
from soo_jax.rl.agents import AgentName, Agents, together
from soo_jax.rl.config import LearnerConfig
from soo_jax.rl.evaluation import ANCHORS
from soo_jax.rl.experiment import (
    RELAPSE,
    TREATMENTS,
    finetune,
    follower_names,
    random_direction,
    standing_still,
    train_baselines,
    train_followers,
    treated_names,
    unseen_red,
)
from soo_jax.rl.games import Game
from soo_jax.rl.population import History
from soo_jax.rl.presets import Recipe

WIDE_SIGHT = 0.25
"""Sight radius in the transfer test: twice that of training."""

DIRECTION_KEY = 8


@dataclass(frozen=True)
class Extent:
    """How much of it.

    Attributes:
      seeds: of blue, per red. reds: R. controls: how many of the seeds the controls use. episodes: per evaluation.
    """

    seeds: tuple[int, ...] = tuple(range(8))
    reds: int = 4
    controls: int = 2
    episodes: int = 500

    def names(self, condition: str, every: bool = True) -> list[AgentName]:
        """The agents of a condition; ``every`` False takes the seeds that controls use."""
        seeds = self.seeds if every else self.seeds[: self.controls]
        return [AgentName(condition, red, seed) for red in range(self.reds) for seed in seeds]


def quick(recipe: Recipe, extent: Extent) -> tuple[Recipe, Extent]:
    """The same in small, to see it run; its figures mean little."""

    def short(config: LearnerConfig | None, iterations: int) -> LearnerConfig | None:
        if config is None:
            return None
        return config.replace(iterations=min(config.iterations, iterations), environments=min(config.environments, 64))

    recipe = replace(
        recipe,
        follower=short(recipe.follower, 50),
        baseline=short(recipe.baseline, 10),
        finetune=short(recipe.finetune, 3),
    )
    # As many seeds for the controls: of one size, all conditions are evaluated by one compiled program.
    return recipe, Extent(extent.seeds[:2], min(extent.reds, 2), 2, min(extent.episodes, 50))


Stage = Callable[[str, Sequence[AgentName], Callable[..., tuple[Agents, History]]], Agents]
"""Does a named stage of some agents' training, ``(progress, checkpoints=..., record=...) -> agents, history``, or finds
it done."""


def train_all(game: Game, recipe: Recipe, extent: Extent, stage: Stage) -> dict[str, Agents]:
    """All training, stage by stage; the result maps the stages to their agents."""
    done: dict[str, Agents] = {}
    if recipe.follower is not None:
        done["followers"] = stage(
            "followers",
            follower_names(extent.reds),
            lambda bar, **more: train_followers(game, recipe, extent.reds, bar, **more),
        )
    names = [name for condition in ANCHORS for name in extent.names(condition)]
    names += [name for condition in ("escort", "avoid") for name in extent.names(condition, every=False)]
    done["baselines"] = base = stage(
        "baselines",
        names,
        lambda bar, **more: train_baselines(game, recipe, names, done.get("followers"), bar, **more),
    )
    few = base.where(lambda name: name.seed in extent.seeds[: extent.controls])
    starts = [(base.of("deceptive"), "soo")]
    starts += [(few.of("deceptive"), treatment) for treatment in TREATMENTS if treatment != "soo"]
    starts += [(few.of("honest"), "soo")]
    starts += [(few.of(world), how) for world in ("escort", "avoid") for how in ("soo", "control:more_rl")]
    whole = together([agents for agents, _ in starts])
    treatments = [how for agents, how in starts for _ in agents.names]
    done["finetuned"] = tuned = stage(
        "finetuned",
        treated_names(whole.names, treatments),
        lambda bar, **more: finetune(game, recipe.finetune, whole, treatments, bar, **more),
    )
    again = together(
        [tuned.of("soo").where(lambda name: name.seed in extent.seeds[: extent.controls]), few.of("honest")]
    )
    again = again.with_params(**recipe.world)
    again = Agents(
        tuple(name._replace(condition=f"relapse:{name.condition}") for name in again.names),
        again.learner,
        again.params,
    )
    done["relapsed"] = stage("relapsed", again.names, lambda bar, **more: _relapse(game, recipe, again, bar, **more))
    return done


def _relapse(
    game: Game, recipe: Recipe, agents: Agents, bar: Progress | None, **running: Any
) -> tuple[Agents, History]:
    """Training for deception again, without SOO, as long as fine-tuning took."""
    how = ["control:more_rl"] * len(agents)
    again, history = finetune(game, recipe.finetune, agents, how, bar, stage=RELAPSE, **running)
    return Agents(agents.names, again.learner, again.params), history


def parties(game: Game, extent: Extent, done: dict[str, Agents]) -> dict[str, tuple[Agents, bool]]:
    """Everybody to be evaluated, by condition, and whether with red hidden from blue's eyes."""
    base, tuned, relapsed = done["baselines"], done["finetuned"], done["relapsed"]
    found: dict[str, tuple[Agents, bool]] = {}
    for stack in (base, tuned, relapsed):
        for condition in dict.fromkeys(name.condition for name in stack.names):
            found[condition] = (stack.of(condition), False)
    deceptive, soo, honest = base.of("deceptive"), tuned.of("soo"), base.of("honest")
    found["control:hidden"] = (deceptive.called("control:hidden"), True)
    found["control:still"] = (standing_still(deceptive, game.agent).called("control:still"), False)
    random = random_direction(deceptive, soo, game.agent, jax.random.key(DIRECTION_KEY))
    found["control:random_direction"] = (random, False)
    for world in ("escort", "avoid"):
        found[f"{world}@hidden"] = (base.of(world).called(f"{world}@hidden"), True)
    for name, agents in (("deceptive", deceptive), ("soo", soo), ("honest", honest)):
        found[f"{name}@wide_sight"] = (agents.with_params(sight=WIDE_SIGHT).called(f"{name}@wide_sight"), False)
        if "followers" in done and extent.reds > 1:
            strangers = unseen_red(agents, done["followers"], game.opponent)
            found[f"{name}@unseen_red"] = (strangers.called(f"{name}@unseen_red"), False)
    return found
