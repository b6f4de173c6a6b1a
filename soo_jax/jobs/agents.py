"""Jobs about agents in games: train, fine-tune, evaluate, reproduce, render."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import fields, replace
from pathlib import Path
from typing import Any

import jax
import jax.numpy as jnp

from soo_jax.errors import SooError
from soo_jax.jobs.agent_folders import changed_settings, described, read_agents
from soo_jax.jobs.agent_stages import Stages, by_condition, measure
from soo_jax.jobs.job import AGENTS, Job
from soo_jax.overlap import DISTANCES
from soo_jax.progress import Reporter
from soo_jax.rl.agents import AgentName, Agents, together
from soo_jax.rl.config import changed, check_game
from soo_jax.rl.evaluation import ANCHORS, EVALUATION_KEY, geometry
from soo_jax.rl.experiment import (
    finetune,
    follower_names,
    standing_still,
    train_baselines,
    train_followers,
    treated_names,
)
from soo_jax.rl.games import Game, game, problem
from soo_jax.rl.presets import Recipe
from soo_jax.rl.reproduce import Extent, parties, train_all
from soo_jax.rl.sweep import baselines, begun, grid, treatable, treated
from soo_jax.rl.views import soo_objective
from soo_jax.runs import RunFolder

MOST_EPISODES = 1000
"""Episodes from which pictures are drawn: all up to the last one are played."""
_SAME = ("preset", "settings", "recipe")


def run_train(
    out: Path,
    recipe: Recipe,
    *,
    seeds: Sequence[int],
    reds: int = 1,
    conditions: Sequence[str] = ANCHORS,
    episodes: int = 500,
    checkpoint_every: int = 0,
    resume: bool = False,
    force: bool = False,
    log: Sequence[str] = (),
    reporter: Reporter | None = None,
) -> None:
    """Trains baselines and measures them; writes ``agents.safetensors`` and ``followers.safetensors``."""
    world = game(recipe.game)
    names = [AgentName(condition, red, seed) for condition in conditions for red in range(reds) for seed in seeds]
    _check(world, seeds, reds, conditions)
    check_game(recipe.baseline, world.agents, world.scripts)
    check_game(recipe.finetune, world.agents, world.scripts)
    settings = {"seeds": list(seeds), "reds": reds, "conditions": list(conditions), "episodes": episodes}
    told = _told(recipe, settings)
    with Job("rl-train", AGENTS, out, told, same=_SAME, resume=resume, force=force, log=log, reporter=reporter) as job:
        stages = Stages(job, world, recipe, checkpoint_every)
        followers = None
        if recipe.follower is not None:
            make = lambda bar, **more: train_followers(world, recipe, reds, bar, **more)
            followers = stages("followers", follower_names(reds), make)
        make = lambda bar, **more: train_baselines(world, recipe, names, followers, bar, **more)
        agents = stages("agents", names, make)
        measure(job, world, by_condition(agents), episodes, stages.training)


def run_finetune(
    source: Path,
    out: Path,
    *,
    treatments: Sequence[str] = ("soo",),
    start: str = "deceptive",
    distance: str | None = None,
    changes: dict[str, Any] | None = None,
    world_changes: dict[str, float] | None = None,
    episodes: int = 500,
    checkpoint_every: int = 0,
    resume: bool = False,
    force: bool = False,
    log: Sequence[str] = (),
    reporter: Reporter | None = None,
) -> None:
    """Fine-tunes the agents of a run, every treatment from the same start, and measures before and after.

    Args:
      distance: of a SOO loss in the objective's stead, a name of ``soo_jax.overlap.DISTANCES``; None keeps the recipe's
        objective. changes: to the recipe's config. world_changes: to the params of the world in which they are
        fine-tuned, e.g. ``{"blue_sight": 0.0}``; they are measured in the world that they come from.
    """
    base, recipe = read_agents(source)
    world, base = game(recipe.game), base.of(start)
    # The widths are those of the agents, which need not be the preset's.
    tuning = recipe.finetune.replace(hidden=recipe.baseline.hidden)
    if distance is not None:
        if distance not in DISTANCES:
            raise SooError(f"distance {distance!r} is unknown; choose {', '.join(DISTANCES)}")
        tuning = tuning.replace(objective=soo_objective(DISTANCES[distance]), soo_terms=())
    recipe = replace(recipe, finetune=changed(tuning, changes or {}))
    if recipe.finetune.hidden != recipe.baseline.hidden:
        raise SooError(f"setting hidden: the agents of {source} have {list(recipe.baseline.hidden)}; leave it out")
    check_game(recipe.finetune, world.agents, world.scripts)
    elsewhere = _world_changes(world, world_changes or {})
    settings = {"source": str(source), "treatments": list(treatments), "start": start, "distance": distance}
    told = _told(recipe, settings | {"changes": changes or {}, "world": elsewhere, "episodes": episodes})
    with Job(
        "rl-finetune", AGENTS, out, told, same=_SAME, resume=resume, force=force, log=log, reporter=reporter
    ) as job:
        stages = Stages(job, world, recipe, checkpoint_every)
        whole = together([base] * len(treatments))
        hows = [how for how in treatments for _ in base.names]
        make = lambda bar, **more: finetune(world, recipe.finetune, whole, hows, bar, worlds=elsewhere, **more)
        tuned = stages("agents", treated_names(whole.names, hows), make)
        measure(job, world, by_condition(base) | by_condition(tuned), episodes, stages.training)


def run_evaluate(
    sources: Sequence[Path],
    out: Path,
    *,
    episodes: int = 500,
    hide: bool = False,
    still: bool = False,
    changes: dict[str, float] | None = None,
    force: bool = False,
    reporter: Reporter | None = None,
) -> None:
    """Measures the agents of one run or several, on the same resets; further runs' conditions get their preset's name.

    The first deceptive and the first honest agents are those that a detector is to tell apart.

    Args:
      hide: hide the other from the agent's eyes. still: let the agents do nothing: what comes of the other by itself.
      changes: to the params of the world, e.g. ``{"sight": 0.25}``.
    """
    everybody: dict[str, tuple[Agents, bool]] = {}
    rows: dict[str, dict[str, Any]] = {}
    anchors: dict[str, str] = {}
    read = [(source, *read_agents(source)) for source in sources]
    played = {recipe.game for _, _, recipe in read}
    if len(played) > 1:
        raise SooError(
            f"{sources[1]}: plays {read[1][2].game}, not {read[0][2].game}; measure runs of one game together"
        )
    world = game(read[0][2].game)
    for i, (source, agents, recipe) in enumerate(read):
        agents = agents.with_params(**_world_changes(world, changes or {}))
        agents = standing_still(agents, world.agent) if still else agents
        for condition, (some, _) in by_condition(agents).items():
            label = condition if not i else f"{recipe.name}:{condition}"
            if label in everybody:  # another run of the same preset: its folder's name tells it apart
                label = f"{recipe.name}:{condition} ({source.name})"
            if label in everybody:
                label = f"{recipe.name}:{condition} ({source})"
            if label in everybody:
                raise SooError(f"{source}: is given twice; name each run once")
            everybody[label] = (some.called(label), hide)
            anchors.setdefault(condition, label)  # the honest agents may be those of a further run
            rows[label] = {"preset": recipe.name, "source": source.name, **changed_settings(source, recipe)}
    settings = {"sources": [str(s) for s in sources], "episodes": episodes, "hide": hide, "still": still}
    settings["world"] = changes or {}
    told = {"game": world.name, "words": world.words.as_dict(), "settings": settings}
    with Job("rl-evaluate", AGENTS, out, told, force=force, reporter=reporter) as job:
        measure(job, world, everybody, episodes, (), rows, anchors)


def run_sweep(
    out: Path,
    recipe: Recipe,
    vary: Mapping[str, Sequence[float]],
    *,
    seeds: Sequence[int],
    reds: int = 1,
    conditions: Sequence[str] = ("deceptive",),
    episodes: int = 200,
    stack: int = 256,
    checkpoint_every: int = 0,
    resume: bool = False,
    force: bool = False,
    log: Sequence[str] = (),
    reporter: Reporter | None = None,
) -> None:
    """Baselines and their fine-tuning by SOO for every combination of values, measured alike.

    Every row of results carries what varied. A part that is complete is not done again when the run is resumed.

    Args:
      vary: lists of numbers by ``world.NAME``, ``baseline.NAME``, ``finetune.NAME``. stack: agents in one program.
    """
    world = game(recipe.game)
    if "deceptive" not in conditions:
        raise SooError("--condition: a sweep fine-tunes deceptive agents; leave deceptive among the conditions")
    _check(world, seeds, reds, conditions)
    check_game(recipe.finetune, world.agents, world.scripts)
    cells = grid(world, recipe, vary)
    before = list(dict.fromkeys(cell.without_finetuning() for cell in cells))
    settings = {"vary": {name: list(values) for name, values in vary.items()}, "seeds": list(seeds), "reds": reds}
    told = _told(recipe, settings | {"conditions": list(conditions), "episodes": episodes, "stack": stack})
    with Job("rl-sweep", AGENTS, out, told, same=_SAME, resume=resume, force=force, log=log, reporter=reporter) as job:
        stages = Stages(job, world, recipe, checkpoint_every)
        followers = None
        if recipe.follower is not None:
            make = lambda bar, **more: train_followers(world, recipe, reds, bar, **more)
            followers = stages("followers", follower_names(reds), make)
        each = max(1, stack // (len(conditions) * reds * len(seeds)))
        parts = []
        for i in range(0, len(before), each):
            some, name = before[i : i + each], f"baselines-{i // each}" if len(before) > each else "baselines"
            make = lambda bar, some=some, **more: baselines(
                world, recipe, some, conditions, seeds, reds, followers, bar, **more
            )
            who = begun(some, conditions, seeds, reds)
            parts.append(stages(name, [one for _, one in who], make, [cell.row for cell, _ in who]))
        trained = together(parts)
        each = max(1, stack // (reds * len(seeds)))
        for i in range(0, len(cells), each):
            some, name = cells[i : i + each], f"finetuned-{i // each}" if len(cells) > each else "finetuned"
            make = lambda bar, some=some, **more: treated(world, recipe, some, trained, bar, **more)
            who = treatable(some, trained)
            parts.append(stages(name, [one for _, one in who], make, [cell.row for cell, _ in who]))
        about = {cell.called("soo"): {"kind": "treated", **cell.row} for cell in cells}
        told = {cell: {"kind": "baseline", **cell.row} for cell in before}
        about |= {cell.called(condition): row for cell, row in told.items() for condition in conditions}
        measure(job, world, by_condition(together(parts)), episodes, stages.training, about)


def run_reproduce(
    out: Path,
    recipe: Recipe,
    extent: Extent,
    *,
    smoke_test: bool = False,
    checkpoint_every: int = 0,
    resume: bool = False,
    force: bool = False,
    log: Sequence[str] = (),
    reporter: Reporter | None = None,
) -> None:
    """The paper's experiment, and controls; interrupted, it goes on with the stage that it was in.

    Args:
      smoke_test: the recipe was cut short, to see it run: the report says so.

    Raises:
      SooError: the recipe is for another game than Physical Deception.
    """
    if recipe.game != "physical_deception":
        raise SooError(f"preset {recipe.name}: plays {recipe.game}; the paper's experiment is about physical_deception")
    world = game(recipe.game)
    _check(world, extent.seeds, extent.reds, ANCHORS)
    settings = {
        "seeds": list(extent.seeds),
        "reds": extent.reds,
        "controls": extent.controls,
        "episodes": extent.episodes,
    }
    told = _told(recipe, settings | {"smoke_test": smoke_test})
    with Job(
        "rl-reproduce", AGENTS, out, told, same=_SAME, resume=resume, force=force, log=log, reporter=reporter
    ) as job:
        stages = Stages(job, world, recipe, checkpoint_every)
        everybody = parties(world, extent, train_all(world, recipe, extent, stages))
        job.save_arrays(
            "geometry.safetensors", geometry(world, {name: everybody[name][0] for name in (*ANCHORS, "soo")})
        )
        measure(job, world, everybody, extent.episodes, stages.training)


def run_render(
    source: Path, *, conditions: Sequence[str], red: int = 0, seed: int = 0, episodes: Sequence[int] = (0, 1, 2)
) -> list[Path]:
    """Draws episodes of a run's agents into its folder, all conditions side by side."""
    agents, recipe = read_agents(source)
    world = game(recipe.game)
    if world.draw is None:
        raise SooError(f"{source}: the game {world.name} draws no pictures")
    if max(episodes) >= MOST_EPISODES:
        raise SooError(f"--episode {max(episodes)}: only the first {MOST_EPISODES} episodes are drawn from")
    if len(set(conditions)) != len(conditions):
        raise SooError(f"--condition {','.join(conditions)}: names one twice")
    shown = {}
    for condition in conditions:
        wanted = AgentName(condition, red, seed)
        one = agents.where(lambda name, wanted=wanted: name == wanted, f"{condition}, red {red}, seed {seed}")
        pick = lambda tree: jax.tree.map(lambda leaf: jnp.asarray(leaf)[0], tree)
        shown[condition] = (pick(one.params), {name: pick(one.policies[name]) for name in world.agents})
    folder = RunFolder.annotate(source)
    made = world.draw(world, shown, source, episodes, jax.random.key(EVALUATION_KEY))
    for path in made:
        folder.claim(path.name)
    return made


def _check(world: Game, seeds: Sequence[int], reds: int, conditions: Sequence[str]) -> None:
    if not seeds:
        raise SooError("seeds: none given; name at least one, e.g. --seed 0,1,2")
    if len(set(seeds)) != len(seeds):
        raise SooError(f"seeds: {', '.join(map(str, seeds))} name one twice; every agent needs a seed of its own")
    if reds < 1:
        raise SooError(f"reds must be at least 1, found {reds}")
    for condition in conditions:
        if condition not in world.worlds:
            raise SooError(f"condition {condition!r} is unknown; choose {', '.join(world.worlds)}")


def _told(recipe: Recipe, settings: dict[str, Any]) -> dict[str, Any]:
    """What ``config.json`` says of a job that trains."""
    words = game(recipe.game).words.as_dict()
    told = {"preset": recipe.name, "game": recipe.game, "settings": settings, "recipe": described(recipe)}
    return told | {"words": words}


def _world_changes(world: Game, changes: dict[str, float]) -> dict[str, float]:
    known = {f.name for f in fields(world.env.default_params)}
    for name in changes:
        if name not in known:
            raise SooError(f"parameter {name!r} of the world is unknown; known are {', '.join(sorted(known))}")
    if "max_steps_in_episode" in changes:
        raise SooError(
            "parameter 'max_steps_in_episode' of the world has no effect here: agents are measured on whole episodes "
            "of the game, and trained on episodes of the setting steps; leave it out"
        )
    if (wrong := problem(world, world.env.default_params.replace(**changes))) is not None:
        raise SooError(f"--world {wrong}")
    return changes
