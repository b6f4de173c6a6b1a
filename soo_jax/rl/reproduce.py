"""The whole experiment: baselines, SOO fine-tuning, controls, and the tests that tell honesty from blindness."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass, replace
from typing import Any

import jax
import jax.numpy as jnp
import numpy as np

from soo_jax.rl.agents import AgentName, Agents, together
from soo_jax.rl.config import LearnerConfig
from soo_jax.rl.evaluation import detection_rows, difference_rows, evaluate_agents, metric_rows
from soo_jax.rl.experiment import (
    RELAPSE,
    TREATMENTS,
    finetune,
    random_direction,
    train_baselines,
    train_followers,
    unseen_red,
)
from soo_jax.rl.games import Evaluation, Game
from soo_jax.rl.population import History, Progress
from soo_jax.rl.presets import Recipe

WIDE_SIGHT = 0.25
"""Sight radius in the transfer test: twice that of training."""

ANCHORS = ("deceptive", "honest")
EVALUATION_KEY = 7
DIRECTION_KEY = 8


@dataclass(frozen=True)
class Plan:
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


def quick(recipe: Recipe, plan: Plan) -> tuple[Recipe, Plan]:
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
    return recipe, Plan(plan.seeds[:2], min(plan.reds, 2), 2, min(plan.episodes, 50))


Stage = Callable[[str, Callable[..., tuple[Agents, History]]], Agents]
"""Does a named stage of training, ``(progress, checkpoints=...) -> agents, history``, or finds it done."""


def train_all(game: Game, recipe: Recipe, plan: Plan, stage: Stage) -> dict[str, Agents]:
    """All training, stage by stage; the result maps the stages to their agents."""
    done: dict[str, Agents] = {}
    if recipe.follower is not None:
        done["followers"] = stage(
            "followers", lambda bar, **more: train_followers(game, recipe, plan.reds, bar, **more)
        )
    names = [name for condition in ANCHORS for name in plan.names(condition)]
    names += [name for condition in ("escort", "avoid") for name in plan.names(condition, every=False)]
    done["baselines"] = base = stage(
        "baselines",
        lambda bar, **more: train_baselines(game, recipe, names, done.get("followers"), bar, **more),
    )
    few = base.where(lambda name: name.seed in plan.seeds[: plan.controls])
    starts = [(base.of("deceptive"), "soo")]
    starts += [(few.of("deceptive"), treatment) for treatment in TREATMENTS if treatment != "soo"]
    starts += [(few.of("honest"), "soo")]
    starts += [(few.of(world), how) for world in ("escort", "avoid") for how in ("soo", "control:more_rl")]
    whole = together([agents for agents, _ in starts])
    treatments = [how for agents, how in starts for _ in agents.names]
    done["finetuned"] = tuned = stage(
        "finetuned", lambda bar, **more: finetune(game, recipe.finetune, whole, treatments, bar, **more)
    )
    again = together([tuned.of("soo").where(lambda name: name.seed in plan.seeds[: plan.controls]), few.of("honest")])
    again = again.with_params(**recipe.world)
    again = Agents(
        tuple(name._replace(condition=f"relapse:{name.condition}") for name in again.names),
        again.learner,
        again.params,
    )
    done["relapsed"] = stage("relapsed", lambda bar, **more: _relapse(game, recipe, again, bar, **more))
    return done


def _relapse(
    game: Game, recipe: Recipe, agents: Agents, bar: Progress | None, **running: Any
) -> tuple[Agents, History]:
    """Training for deception again, without SOO, as long as fine-tuning took."""
    how = ["control:more_rl"] * len(agents)
    again, history = finetune(game, recipe.finetune, agents, how, bar, stage=RELAPSE, **running)
    return Agents(agents.names, again.learner, again.params), history


def parties(game: Game, plan: Plan, done: dict[str, Agents]) -> dict[str, tuple[Agents, bool]]:
    """Everybody to be evaluated, by condition, and whether with red hidden from blue's eyes."""
    base, tuned, relapsed = done["baselines"], done["finetuned"], done["relapsed"]
    found: dict[str, tuple[Agents, bool]] = {}
    for stack in (base, tuned, relapsed):
        for condition in dict.fromkeys(name.condition for name in stack.names):
            found[condition] = (stack.of(condition), False)
    deceptive, soo, honest = base.of("deceptive"), tuned.of("soo"), base.of("honest")
    found["control:hidden"] = (deceptive.called("control:hidden"), True)
    random = random_direction(deceptive, soo, game.agent, jax.random.key(DIRECTION_KEY))
    found["control:random_direction"] = (random, False)
    for world in ("escort", "avoid"):
        found[f"{world}@hidden"] = (base.of(world).called(f"{world}@hidden"), True)
    for name, agents in (("deceptive", deceptive), ("soo", soo), ("honest", honest)):
        found[f"{name}@wide_sight"] = (agents.with_params(sight=WIDE_SIGHT).called(f"{name}@wide_sight"), False)
        if "followers" in done and plan.reds > 1:
            strangers = unseen_red(agents, done["followers"], game.opponent)
            found[f"{name}@unseen_red"] = (strangers.called(f"{name}@unseen_red"), False)
    return found


def measure_all(
    game: Game, plan: Plan, everybody: dict[str, tuple[Agents, bool]], bar: Progress | None = None
) -> tuple[list[dict[str, Any]], dict[str, Any]]:
    """Evaluates everybody on the same resets.

    Returns:
      Tidy rows, and mean surfaces by condition, where the game has such.
    """
    key = jax.random.key(EVALUATION_KEY)
    found: dict[str, tuple[Agents, Evaluation]] = {}
    for i, (condition, (agents, hide)) in enumerate(everybody.items()):
        found[condition] = (agents, jax.device_get(evaluate_agents(game, agents, key, plan.episodes, hide)))
        if bar is not None:
            bar(i + 1, len(everybody), {})
    rows = [row for agents, result in found.values() for row in metric_rows(agents, result)]
    rows += difference_rows(game, found, [anchor for anchor in ANCHORS if anchor in found])
    if all(anchor in found for anchor in ANCHORS):
        scores = {name: result.episode_soo for name, (_, result) in found.items()}
        rows += detection_rows(*(scores.pop(name) for name in ANCHORS), scores, game.overlaps)
    surfaces = {name: result.extras["surface"] for name, (_, result) in found.items() if "surface" in result.extras}
    return rows, {name: np.asarray(surface).mean(axis=0) for name, surface in surfaces.items()}


def geometry(game: Game, everybody: dict[str, tuple[Agents, bool]], points: int = 400) -> dict[str, np.ndarray]:
    """Activations of self and other views of one agent before and after, on common principal axes.

    Returns:
      ``<condition>.self`` and ``<condition>.other``, ``[n, 2]``, of the first red's first seed.
    """
    from soo_jax.rl.games.physical_deception.measures import play
    from soo_jax.rl.networks import hidden, read
    from soo_jax.rl.views import paired

    read_at: dict[str, np.ndarray] = {}
    pick = lambda tree: jax.tree.map(lambda leaf: jnp.asarray(leaf)[0], tree)
    for condition in (*ANCHORS, "soo"):
        agents = everybody[condition][0]
        params, blue = pick(agents.params), pick(agents.policies[game.agent])
        seen = play(game, params, pick(agents.policies[game.opponent]), blue, jax.random.key(EVALUATION_KEY), 40)
        flat = lambda x: x.reshape(-1, x.shape[-1])
        where = flat(seen.positions[:, :-1, 1])
        selves, others, mask = paired(game, params, flat(seen.obs_blue[:, :-1]), where, jax.random.key(0))
        kept = np.flatnonzero(np.asarray(mask))[:points]
        for side, views in (("self", selves), ("other", others)):
            read_at[f"{condition}.{side}"] = np.asarray(read(blue, views, (hidden(),))[hidden()])[kept]
    whole = np.concatenate(list(read_at.values()))
    _, _, axes = np.linalg.svd(whole - whole.mean(axis=0), full_matrices=False)
    return {name: ((x - whole.mean(axis=0)) @ axes[:2].T).astype(np.float32) for name, x in read_at.items()}
