"""``soo rl``: agents in games of deception."""

from __future__ import annotations

from pathlib import Path
from typing import Annotated, Any

import typer

from soo_jax.cli.common import (
    RUN,
    Force,
    Log,
    Options,
    Out,
    Quiet,
    Resume,
    bars,
    check_out,
    finish,
    numbers,
    option,
    start,
    trackers,
)
from soo_jax.errors import SooError

TRAINED, MEASURED, DRAWN = "What is trained", "What is measured", "What is drawn"

rl = typer.Typer(
    help="Agents in games of deception: train, fine-tune by SOO, measure, draw.",
    rich_markup_mode="rich",
    pretty_exceptions_enable=False,
)

Episodes = Annotated[int, option("Episodes that every agent is measured on.", MEASURED)]
Preset = Annotated[
    str | None,
    option("trusting-red (default), trusting-red-maddpg, paper, signalling, or your own: file.py:RECIPE.", TRAINED),
]
GameName = Annotated[
    str | None, option("physical_deception or signalling; its first preset, unless one is given.", TRAINED, "--game")
]
Settings = Annotated[
    list[str] | None,
    option(
        "A setting of the learner, NAME=VALUE (of the learner before it: follower.NAME); repeatable.", TRAINED, "--set"
    ),
]
ConfigFile = Annotated[
    Path | None, option("JSON or TOML file of the learner's settings, or config.json of a run.", TRAINED, "--config")
]
Every = Annotated[int, option("Iterations between checkpoints; 0: only when stopped.", RUN, "--checkpoint-every")]


@rl.command()
def train(
    out: Out,
    preset: Preset = None,
    game: GameName = None,
    condition: Annotated[
        str, option("What agents are rewarded for: deceptive, honest, ...; several with commas.", TRAINED)
    ] = ("deceptive,honest"),
    seed: Annotated[str, option("Seeds, one agent each for every opponent.", TRAINED)] = "0-7",
    reds: Annotated[int, option("Different opponents.", TRAINED)] = 1,
    episodes: Episodes = 500,
    config: ConfigFile = None,
    settings: Settings = None,
    checkpoint_every: Every = 0,
    log: Log = None,
    resume: Resume = False,
    force: Force = False,
    quiet: Quiet = False,
) -> None:
    """Baselines: deceptive and honest agents."""
    sent_to = trackers(log)
    reporter = _begin(out, force or resume, quiet)
    from soo_jax.jobs.agents import run_train

    recipe = _with_settings(_recipe(preset, game), config, settings)
    with reporter:
        run_train(
            out,
            recipe,
            seeds=_seeds(seed),
            reds=reds,
            conditions=condition.split(","),
            episodes=_positive("episodes", episodes),
            checkpoint_every=checkpoint_every,
            resume=resume,
            force=force,
            log=sent_to,
            reporter=reporter,
        )
    _finish(out)


@rl.command()
def finetune(
    run: Annotated[Path, typer.Argument(help="Run of soo rl train or reproduce.")],
    out: Out,
    treatment: Annotated[str, option("soo, control:more_rl, ...; several with commas.", TRAINED)] = "soo",
    start: Annotated[str, option("Condition of the agents to start from.", TRAINED, "--from")] = "deceptive",
    distance: Annotated[
        str | None,
        option("Of a SOO loss in place of the recipe's objective: mse, normalised_mse, cosine, ...", TRAINED),
    ] = None,
    world: Annotated[
        list[str] | None,
        option("A parameter of the world while they train, e.g. blue_sight=0: red is hidden from blue.", TRAINED),
    ] = None,
    episodes: Episodes = 500,
    config: ConfigFile = None,
    settings: Settings = None,
    checkpoint_every: Every = 0,
    log: Log = None,
    resume: Resume = False,
    force: Force = False,
    quiet: Quiet = False,
) -> None:
    """SOO fine-tuning of a run's agents, and its controls."""
    sent_to = trackers(log)
    reporter = _begin(out, force or resume, quiet)
    from soo_jax.jobs.agents import run_finetune

    with reporter:
        run_finetune(
            run,
            out,
            treatments=treatment.split(","),
            start=start,
            distance=distance,
            changes=_settings(config, settings, "finetune"),
            world_changes=_world(world),
            episodes=_positive("episodes", episodes),
            checkpoint_every=checkpoint_every,
            resume=resume,
            force=force,
            log=sent_to,
            reporter=reporter,
        )
    _finish(out)


@rl.command()
def evaluate(
    runs: Annotated[list[Path], typer.Argument(help="Runs with agents; all are measured on the same episodes.")],
    out: Out,
    episodes: Episodes = 500,
    hide: Annotated[bool, option("Hide the other from the agents' eyes.", MEASURED, "--hide", "--hide-red")] = False,
    still: Annotated[bool, option("Let the agents stand still: what comes of the other by itself.", MEASURED)] = False,
    world: Annotated[list[str] | None, option("A parameter of the world, e.g. sight=0.25.", MEASURED)] = None,
    force: Force = False,
    quiet: Quiet = False,
) -> None:
    """Behaviour, self-other overlap and detection of the agents of one run or several."""
    reporter = _begin(out, force, quiet)
    from soo_jax.jobs.agents import run_evaluate

    with reporter:
        run_evaluate(
            runs,
            out,
            episodes=_positive("episodes", episodes),
            hide=hide,
            still=still,
            changes=_world(world),
            force=force,
            reporter=reporter,
        )
    _finish(out)


@rl.command()
def reproduce(
    out: Out = Path("runs/rl"),
    preset: Preset = "trusting-red",
    seed: Annotated[str, option("Seeds, for every opponent.", TRAINED)] = "0-7",
    reds: Annotated[int, option("Different opponents.", TRAINED)] = 4,
    controls: Annotated[int, option("How many of the seeds the controls use.", TRAINED)] = 2,
    episodes: Episodes = 500,
    config: Options = None,
    quick: Annotated[bool, option("Two seeds, short training: a smoke test.", RUN, "--quick")] = False,
    checkpoint_every: Every = 25,
    log: Log = None,
    resume: Resume = False,
    force: Force = False,
    quiet: Quiet = False,
) -> None:
    """The whole experiment: baselines, SOO fine-tuning, controls, detection, report."""
    sent_to = trackers(log)
    reporter = _begin(out, force or resume, quiet)
    from soo_jax.jobs.agents import run_reproduce
    from soo_jax.rl.presets import preset as by_name
    from soo_jax.rl.reproduce import Extent
    from soo_jax.rl.reproduce import quick as in_small

    controls, episodes = _positive("controls", controls), _positive("episodes", episodes)
    recipe, extent = by_name(preset or "trusting-red"), Extent(_seeds(seed), reds, controls, episodes)
    if quick:
        recipe, extent = in_small(recipe, extent)
    with reporter:
        run_reproduce(
            out,
            recipe,
            extent,
            smoke_test=quick,
            checkpoint_every=checkpoint_every,
            resume=resume,
            force=force,
            log=sent_to,
            reporter=reporter,
        )
    _finish(out)
    if quick:
        print("This was a smoke test: training was cut short, and its figures say nothing about the method.")


@rl.command()
def sweep(
    out: Out,
    vary: Annotated[
        list[str],
        option("world.NAME, baseline.NAME or finetune.NAME=1,2,3; repeatable: all combinations are made.", TRAINED),
    ],
    preset: Preset = None,
    game: GameName = None,
    condition: Annotated[str, option("Baselines to train; deceptive ones are fine-tuned.", TRAINED)] = "deceptive",
    seed: Annotated[str, option("Seeds, one agent each for every combination and red.", TRAINED)] = "0-3",
    reds: Annotated[int, option("Different opponents.", TRAINED)] = 1,
    episodes: Episodes = 200,
    stack: Annotated[int, option("Agents in one program; fewer take less memory.", RUN)] = 256,
    config: ConfigFile = None,
    settings: Settings = None,
    checkpoint_every: Every = 0,
    log: Log = None,
    resume: Resume = False,
    force: Force = False,
    quiet: Quiet = False,
) -> None:
    """Seeds times any numbers of world and learner: baselines, SOO fine-tuning, a map of what came of it."""
    sent_to = trackers(log)
    reporter = _begin(out, force or resume, quiet)
    from soo_jax.jobs.agents import run_sweep
    from soo_jax.report.rl.sweep import sweep_table

    values: dict[str, tuple[float, ...]] = {}
    for text in vary:
        name, equals, listed = text.partition("=")
        if not equals:
            raise SooError(f"--vary {text!r}: write NAME=1,2,3")
        values[name] = numbers(f"vary {name}", listed, float)
    recipe = _with_settings(_recipe(preset, game), config, settings)
    with reporter:
        run_sweep(
            out,
            recipe,
            values,
            seeds=_seeds(seed),
            reds=reds,
            conditions=condition.split(","),
            episodes=_positive("episodes", episodes),
            stack=_positive("stack", stack),
            checkpoint_every=checkpoint_every,
            resume=resume,
            force=force,
            log=sent_to,
            reporter=reporter,
        )
    finish(out, sweep_table)


@rl.command()
def render(
    run: Annotated[Path, typer.Argument(help="Run with agents; the pictures go into its folder.")],
    condition: Annotated[str, option("Conditions side by side.", DRAWN)] = "deceptive,honest",
    red: Annotated[int, option("Which opponent.", DRAWN)] = 0,
    seed: Annotated[int, option("Which seed.", DRAWN)] = 0,
    episode: Annotated[str, option("Episodes, one after the other; the first is drawn as a strip.", DRAWN)] = "0,1",
    quiet: Annotated[bool, option("Do not list the pictures.", RUN, "--quiet")] = False,
) -> None:
    """Episodes as GIF and PNG strips."""
    episodes = _seeds(episode)
    if min(episodes) < 0:
        raise SooError(f"--episode {episode}: episodes count from 0")
    start(spread=True)
    from soo_jax.jobs.agents import run_render

    paths = run_render(run, conditions=condition.split(","), red=red, seed=seed, episodes=episodes)
    print("\n".join(map(str, [] if quiet else paths)), end="" if quiet else "\n")


def _recipe(preset: str | None, game: str | None) -> Any:
    """The recipe that is named, or the first one for a game."""
    from soo_jax.rl.presets import for_game
    from soo_jax.rl.presets import preset as by_name

    if preset is None:
        return for_game(game) if game is not None else by_name("trusting-red")
    recipe = by_name(preset)
    if game not in (None, recipe.game):
        raise SooError(f"--game {game}: the preset {preset} plays {recipe.game}; leave one of them out")
    return recipe


def _with_settings(recipe: Any, config: Path | None, settings: list[str] | None) -> Any:
    """The recipe with settings of the baseline's learner, and of the red before it (``follower.NAME``)."""
    from dataclasses import replace

    from soo_jax.jobs.agent_folders import FOLLOWER
    from soo_jax.rl.config import changed

    told = _settings(config, settings, "baseline")
    follower = {name.removeprefix(FOLLOWER): told.pop(name) for name in list(told) if name.startswith(FOLLOWER)}
    if follower and recipe.follower is None:
        raise SooError(f"--set {FOLLOWER}{next(iter(follower))}: the preset {recipe.name} trains no follower")
    if "hidden" in told:  # one network for all: they are kept in one file
        follower.setdefault("hidden", told["hidden"])
        recipe = replace(recipe, finetune=recipe.finetune.replace(hidden=tuple(told["hidden"])))
    recipe = replace(recipe, baseline=changed(recipe.baseline, told))
    if recipe.follower is not None:
        recipe = replace(recipe, follower=changed(recipe.follower, follower))
    return recipe


def _begin(out: Path, keep: bool, quiet: bool) -> Any:
    check_out(out, keep)
    start(spread=True)
    return bars(quiet)


def _seeds(text: str) -> tuple[int, ...]:
    return numbers("seed", text)


def _positive(name: str, value: int) -> int:
    if value < 1:
        raise SooError(f"--{name} must be at least 1, found {value}")
    return value


def _world(pairs: list[str] | None) -> dict[str, float]:
    return {name: _number(name, value) for name, value in _settings(None, pairs, "world").items()}


def _number(name: str, value: Any) -> float:
    if isinstance(value, bool) or not isinstance(value, int | float):
        raise SooError(f"--world {name}: must be a number, found {value!r}")
    return float(value)


def _settings(config: Path | None, pairs: list[str] | None, part: str) -> dict[str, Any]:
    """Settings from a file and from NAME=VALUE, which wins; of a run's recipe, those of a part."""
    import json

    from soo_jax.jobs.agent_folders import settings_of
    from soo_jax.jobs.config_files import read_config_file

    values: dict[str, Any] = {} if config is None else read_config_file(config, "recipe")
    if isinstance(values.get(part), dict):  # the recipe of a run
        values = settings_of(values, part)
    for pair in pairs or ():
        name, equals, text = pair.partition("=")
        if not equals:
            raise SooError(f"{pair!r}: write NAME=VALUE")
        try:
            values[name] = json.loads(text)
        except json.JSONDecodeError as error:
            raise SooError(f"{pair!r}: the value is neither a number nor other JSON") from error
    return values


def _finish(out: Path) -> None:
    from soo_jax.report.rl.tables import rl_table

    finish(out, rl_table)
