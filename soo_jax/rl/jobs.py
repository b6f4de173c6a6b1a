"""The jobs of ``soo rl``, each writing one run folder: train, fine-tune, evaluate, reproduce, render."""

from __future__ import annotations

import json
import shutil
import warnings
from collections.abc import Callable, Mapping, Sequence
from dataclasses import fields, replace
from itertools import pairwise
from pathlib import Path
from typing import Any

import jax
import jax.numpy as jnp
import numpy as np

from soo_jax.checkpoints import Checkpoints
from soo_jax.errors import SooError, SooWarning
from soo_jax.overlap import DISTANCES
from soo_jax.overlap.content import content
from soo_jax.progress import Clock, Reporter
from soo_jax.rl.agents import AgentName, Agents, load_agents, read_about, save_agents, together
from soo_jax.rl.config import LearnerConfig, changed, check_game
from soo_jax.rl.experiment import WORLDS, finetune, like, train_baselines, train_followers
from soo_jax.rl.games import Game, game, problem
from soo_jax.rl.learning import NEVER
from soo_jax.rl.population import History, Progress
from soo_jax.rl.presets import Recipe, preset
from soo_jax.rl.reproduce import ANCHORS, EVALUATION_KEY, Plan, geometry, measure_all, parties, train_all
from soo_jax.rl.views import soo_objective
from soo_jax.runs import RunFolder, provenance, read_run

AGENTS = "agents.safetensors"
MOST_EPISODES = 1000
"""Episodes from which pictures are drawn: all up to the last one are played."""
_POINTS = 50
"""Points of a learning curve that are kept of each agent."""


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
    reporter: Reporter | None = None,
) -> None:
    """Trains baselines and measures them; writes ``agents.safetensors`` and ``followers.safetensors``."""
    world = game("physical_deception")
    reporter, clock = reporter or Reporter(), Clock()
    names = [AgentName(condition, red, seed) for condition in conditions for red in range(reds) for seed in seeds]
    _check(seeds, reds, conditions)
    check_game(recipe.blue, world.agents)
    settings = {"seeds": list(seeds), "reds": reds, "conditions": list(conditions), "episodes": episodes}
    config = _config("rl-train", recipe, settings)
    with _open(out, config, resume, force) as run:
        stage = _Stages(run, world, recipe, reporter, clock, checkpoint_every, resume)
        followers = None
        if recipe.follower is not None:
            followers = stage("followers", lambda bar, **more: train_followers(world, recipe, reds, bar, **more))
        agents = stage("agents", lambda bar, **more: train_baselines(world, recipe, names, followers, bar, **more))
        _write_results(run, world, "rl-train", _by_condition(agents), Plan(episodes=episodes), stage, clock, reporter)
    stage.forget()


def run_finetune(
    source: Path,
    out: Path,
    *,
    treatments: Sequence[str] = ("soo",),
    start: str = "deceptive",
    distance: str = "mse",
    changes: dict[str, Any] | None = None,
    episodes: int = 500,
    checkpoint_every: int = 0,
    resume: bool = False,
    force: bool = False,
    reporter: Reporter | None = None,
) -> None:
    """Fine-tunes the agents of a run, every treatment from the same start, and measures before and after.

    Args:
      distance: of the SOO loss, a name of ``soo_jax.overlap.DISTANCES``. changes: to the recipe's config.
    """
    world = game("physical_deception")
    reporter, clock = reporter or Reporter(), Clock()
    base, recipe = read_agents(source)
    base = base.of(start)
    if distance not in DISTANCES:
        raise SooError(f"distance {distance!r} is unknown; choose {', '.join(DISTANCES)}")
    objective = soo_objective(DISTANCES[distance])
    tuning = recipe.finetune.replace(objective=objective, hidden=recipe.blue.hidden)  # these agents', not the preset's
    recipe = replace(recipe, finetune=changed(tuning, changes or {}))
    if recipe.finetune.hidden != recipe.blue.hidden:
        raise SooError(f"setting hidden: the agents of {source} have {list(recipe.blue.hidden)}; leave it out")
    check_game(recipe.finetune, world.agents)
    settings = {"source": str(source), "treatments": list(treatments), "start": start, "distance": distance}
    settings |= {"changes": changes or {}}
    config = _config("rl-finetune", recipe, settings | {"episodes": episodes})
    with _open(out, config, resume, force) as run:
        stage = _Stages(run, world, recipe, reporter, clock, checkpoint_every, resume)
        whole = _repeat(base, len(treatments))
        hows = [how for how in treatments for _ in base.names]
        tuned = stage("agents", lambda bar, **more: finetune(world, recipe.finetune, whole, hows, bar, **more))
        everybody = _by_condition(base) | _by_condition(tuned)
        _write_results(run, world, "rl-finetune", everybody, Plan(episodes=episodes), stage, clock, reporter)
    stage.forget()


def run_evaluate(
    sources: Sequence[Path],
    out: Path,
    *,
    episodes: int = 500,
    hide: bool = False,
    changes: dict[str, float] | None = None,
    force: bool = False,
    reporter: Reporter | None = None,
) -> None:
    """Measures the agents of one run or several, on the same resets; further runs' conditions get their preset's name.

    Args:
      hide: hide red from blue's eyes. changes: to the params of the world, e.g. ``{"sight": 0.25}``.
    """
    world = game("physical_deception")
    reporter, clock = reporter or Reporter(), Clock()
    everybody: dict[str, tuple[Agents, bool]] = {}
    about: dict[str, dict[str, Any]] = {}
    for i, source in enumerate(sources):
        agents, recipe = read_agents(source)
        agents = agents.with_params(**_world_changes(world, changes or {}))
        for condition, (some, _) in _by_condition(agents).items():
            label = condition if not i else f"{recipe.name}:{condition}"
            if label in everybody:  # another run of the same preset: its folder's name tells it apart
                label = f"{recipe.name}:{condition} ({source.name})"
            if label in everybody:
                label = f"{recipe.name}:{condition} ({source})"
            if label in everybody:
                raise SooError(f"{source}: is given twice; name each run once")
            everybody[label] = (some.called(label), hide)
            about[label] = {"preset": recipe.name, "source": source.name, **_changed(source, recipe)}
    settings = {"sources": [str(s) for s in sources], "episodes": episodes, "hide": hide, "world": changes or {}}
    config = {"job": "rl-evaluate", "settings": settings, "provenance": provenance()}
    with _open(out, config, False, force) as run:
        plan = Plan(episodes=episodes)
        _write_results(run, world, "rl-evaluate", everybody, plan, None, clock, reporter, about)


def run_reproduce(
    out: Path,
    recipe: Recipe,
    plan: Plan,
    *,
    smoke_test: bool = False,
    checkpoint_every: int = 0,
    resume: bool = False,
    force: bool = False,
    reporter: Reporter | None = None,
) -> None:
    """The whole experiment; interrupted, it goes on with the stage that it was in.

    Args:
      smoke_test: the recipe was cut short, to see it run: the report says so.
    """
    world = game("physical_deception")
    reporter, clock = reporter or Reporter(), Clock()
    _check(plan.seeds, plan.reds, ANCHORS)
    settings = {"seeds": list(plan.seeds), "reds": plan.reds, "controls": plan.controls, "episodes": plan.episodes}
    settings["smoke_test"] = smoke_test
    with _open(out, _config("rl-reproduce", recipe, settings), resume, force) as run:
        stage = _Stages(run, world, recipe, reporter, clock, checkpoint_every, resume)
        done = train_all(world, recipe, plan, stage)
        everybody = parties(world, plan, done)
        _save_arrays(run, "geometry.safetensors", geometry(world, everybody))
        _write_results(run, world, "rl-reproduce", everybody, plan, stage, clock, reporter)
    stage.forget()


def run_render(
    source: Path, *, conditions: Sequence[str], red: int = 0, seed: int = 0, episodes: Sequence[int] = (0, 1, 2)
) -> list[Path]:
    """Draws episodes of a run's agents into its folder: a GIF of all conditions side by side, and a strip of each."""
    from soo_jax.rl.measures import play
    from soo_jax.rl.render import animate, strip

    world = game("physical_deception")
    agents, _ = read_agents(source)
    if max(episodes) >= MOST_EPISODES:
        raise SooError(f"--episode {max(episodes)}: only the first {MOST_EPISODES} episodes are drawn from")
    if len(set(conditions)) != len(conditions):
        raise SooError(f"--condition {','.join(conditions)}: names one twice")
    played = {}
    for condition in conditions:
        wanted = AgentName(condition, red, seed)
        one = agents.where(lambda name, wanted=wanted: name == wanted, f"{condition}, red {red}, seed {seed}")
        pick = lambda tree: jax.tree.map(lambda leaf: jnp.asarray(leaf)[0], tree)
        who = [pick(one.policies[name]) for name in world.agents]
        played[condition] = play(world, pick(one.params), *who, jax.random.key(EVALUATION_KEY), max(episodes) + 1)
    folder = RunFolder.annotate(source)
    made = [animate(played, source / "episodes.gif", list(episodes))]
    for condition, trajectory in played.items():
        name = condition.replace(":", "_")
        made.append(strip(trajectory, source / f"episode_{name}.png", episodes[0], title=condition))
    for path in made:
        folder.claim(path.name)
    return made


def read_agents(source: Path) -> tuple[Agents, Recipe]:
    """All agents of a run folder, and the recipe that made them.

    Raises:
      SooError: the folder holds no agents, or those of another config.
    """
    run = read_run(source)
    recipe = _recipe_of(source, run.config)
    world = game("physical_deception")
    files = [source / name for name in (AGENTS, "baselines.safetensors", "finetuned.safetensors")]
    files = [path for path in files if path.is_file()]
    if not files:
        read_about(source / AGENTS)
    parts = [load_agents(path, like(world, recipe.blue)) for path in files]
    return together(parts), recipe


def _changed(source: Path, recipe: Recipe) -> dict[str, Any]:
    """What the run's agents were trained with in other measure than their preset says, setting by setting."""
    job, usual = read_run(source).config["job"], preset(recipe.name)
    mine, theirs = (recipe.finetune, usual.finetune) if job == "rl-finetune" else (recipe.blue, usual.blue)
    own = ((f.name, getattr(mine, f.name), getattr(theirs, f.name)) for f in fields(mine) if f.name != "objective")
    return {name: value for name, value, known in own if value != known}


def _open(out: Path, config: dict[str, Any], resume: bool, force: bool) -> RunFolder:
    """A run folder with its config, new or reopened.

    Raises:
      SooError: it cannot be made, or was begun with other settings than it is to go on with.
    """
    if resume:
        begun = read_run(out).config
        asked = json.loads(json.dumps(config))
        differing = [name for name in ("job", "preset", "settings", "recipe") if begun.get(name) != asked.get(name)]
        if begun and differing:
            raise SooError(
                f"{out}: this run was begun with another {differing[0]}; resume with the same, or start anew"
            )
    folder = RunFolder.reopen(out) if resume else RunFolder.create(out, force)
    folder.write_config(config)
    return folder


class _Stages:
    """Does the stages of training of a run: each ends with a file of agents, and is skipped if the file is there."""

    def __init__(
        self,
        run: RunFolder,
        world: Game,
        recipe: Recipe,
        reporter: Reporter,
        clock: Clock,
        checkpoint_every: int = 0,
        resume: bool = False,
    ):
        self._resume = resume
        self._run, self._world, self._recipe = run, world, recipe
        self._reporter, self._clock, self._every = reporter, clock, checkpoint_every
        self.training: list[dict[str, Any]] = []

    def __call__(self, name: str, make: Callable[..., tuple[Agents, History]]) -> Agents:
        path, curves = self._run.path / f"{name}.safetensors", self._run.path / f"{name}-training.json"
        config = self._recipe.follower if name == "followers" else self._recipe.blue
        if path.is_file() and curves.is_file():
            self.training += json.loads(curves.read_text(encoding="utf-8"))
            return load_agents(path, like(self._world, config))
        bar = self._reporter.task(name)
        identity = {"stage": name, "config": content(config), "finetune": content(self._recipe.finetune)}
        states = Checkpoints(self._states / name, identity, self._every)
        try:
            if not self._resume:
                states.clear()
            with self._clock(name):
                agents, history = make(bar, checkpoints=states)
        finally:
            states.close()
        rows = _training_rows(agents, history)
        self._note_frozen(agents, history)
        self._run.write_text(curves.name, json.dumps(rows) + "\n")
        save_agents(path, agents, {"stage": name, "preset": self._recipe.name})
        self._run.claim(path.name)
        self.training += rows
        return agents

    @property
    def _states(self) -> Path:
        return self._run.path / "checkpoints"

    def _note_frozen(self, agents: Agents, history: History) -> None:
        for name, at in zip(agents.names, history.frozen_at.tolist(), strict=True):
            if at != NEVER:
                self._run.log(
                    f"{name.condition}, red {name.red}, seed {name.seed}: a number was not finite in iteration "
                    f"{at + 1}; the agent is kept as it was before"
                )
        frozen = [at for at in history.frozen_at.tolist() if at != NEVER]
        if frozen:
            warnings.warn(
                f"{len(frozen)} of {len(agents)} agents stopped learning, the first in iteration {min(frozen) + 1}: a "
                f"number was not finite; lower the rates, or see log.txt",
                SooWarning,
                stacklevel=2,
            )

    def forget(self) -> None:
        """Deletes the checkpoints, once the run is complete."""
        shutil.rmtree(self._states, ignore_errors=True)


def _write_results(
    run: RunFolder,
    world: Game,
    job: str,
    everybody: dict[str, tuple[Agents, bool]],
    plan: Plan,
    stage: _Stages | None,
    clock: Clock,
    reporter: Reporter,
    about: Mapping[str, dict[str, Any]] | None = None,
) -> None:
    """Measures everybody, and writes it.

    Args:
      about: what is to stand in the rows of a condition, beside what they say of themselves.
    """
    bar: Progress = reporter.task("evaluate")
    with clock("evaluate"):
        rows, surfaces = measure_all(world, plan, everybody, bar)
    rows = [{**(about or {}).get(row["condition"], {}), **row} for row in rows]
    _save_arrays(run, "surfaces.safetensors", surfaces)
    training = stage.training if stage else []
    run.write_results({"job": job, "rows": rows, "training": training, "timings": clock.seconds})


def _save_arrays(run: RunFolder, name: str, arrays: dict[str, np.ndarray]) -> None:
    from safetensors.numpy import save

    whole = {key: np.ascontiguousarray(value, np.float32) for key, value in arrays.items()}
    run.write_bytes(name, save(whole))


def _training_rows(agents: Agents, history: History) -> list[dict[str, Any]]:
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


def _by_condition(agents: Agents) -> dict[str, tuple[Agents, bool]]:
    return {c: (agents.of(c), False) for c in dict.fromkeys(name.condition for name in agents.names)}


def _repeat(agents: Agents, times: int) -> Agents:
    return together([agents] * times)


def _check(seeds: Sequence[int], reds: int, conditions: Sequence[str]) -> None:
    if not seeds:
        raise SooError("seeds: none given; name at least one, e.g. --seed 0,1,2")
    if len(set(seeds)) != len(seeds):
        raise SooError(f"seeds: {', '.join(map(str, seeds))} name one twice; every agent needs a seed of its own")
    if reds < 1:
        raise SooError(f"reds must be at least 1, found {reds}")
    for condition in conditions:
        if condition not in WORLDS:
            raise SooError(f"condition {condition!r} is unknown; choose {', '.join(WORLDS)}")


def _config(job: str, recipe: Recipe, settings: dict[str, Any]) -> dict[str, Any]:
    return {
        "job": job,
        "preset": recipe.name,
        "settings": settings,
        "recipe": _as_dict(recipe),
        "provenance": provenance(),
    }


def _as_dict(recipe: Recipe) -> dict[str, Any]:
    own = lambda config: config and {f.name: getattr(config, f.name) for f in fields(config) if f.name != "objective"}
    return {
        "bonus": recipe.bonus,
        "follower_world": recipe.follower_world,
        "follower": own(recipe.follower),
        "blue": own(recipe.blue),
        "finetune": own(recipe.finetune),
    }


def _recipe_of(source: Path, config: dict[str, Any]) -> Recipe:
    """The recipe with the settings that a run was made with.

    Raises:
      SooError: the run is none of reinforcement learning that trained agents.
    """
    if not str(config.get("job", "")).startswith("rl-") or "recipe" not in config:
        raise SooError(f"{source}: trained no agents; give a run of soo rl train, finetune or reproduce")
    recipe, told = preset(config["preset"]), config["recipe"]

    def restored(config: LearnerConfig | None, values: dict[str, Any] | None) -> LearnerConfig | None:
        if config is None or values is None:
            return config
        plain = {name: value for name, value in values.items() if name != "scripted"}
        return changed(config, plain)

    return replace(
        recipe,
        bonus=told["bonus"],
        follower=restored(recipe.follower, told["follower"]),
        blue=restored(recipe.blue, told["blue"]),
        finetune=restored(recipe.finetune, told["finetune"]),
    )


def _world_changes(world: Game, changes: dict[str, float]) -> dict[str, float]:
    known = {f.name for f in fields(world.env.default_params)}
    for name in changes:
        if name not in known:
            raise SooError(f"parameter {name!r} of the world is unknown; known are {', '.join(sorted(known))}")
    if "max_steps_in_episode" in changes:
        raise SooError(
            "parameter 'max_steps_in_episode' of the world has no effect here: agents are measured on whole episodes "
            "of 50 steps, and trained on episodes of the setting steps; leave it out"
        )
    if (wrong := problem(world, world.env.default_params.replace(**changes))) is not None:
        raise SooError(f"--world {wrong}")
    return changes
