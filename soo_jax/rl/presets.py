"""Recipes by name: how baselines are made in which SOO has something to change, and how it is then applied."""

from __future__ import annotations

from dataclasses import dataclass, field, replace
from typing import Any

from soo_jax.errors import SooError
from soo_jax.importing import load_object
from soo_jax.rl.config import LearnerConfig, MaddpgConfig, PpoConfig
from soo_jax.rl.views import soo_objective


@dataclass(frozen=True)
class Recipe:
    """How a pair of baselines is trained, and fine-tuned by SOO.

    Attributes:
      game: by its name, see :func:`soo_jax.rl.games.game`.
      follower: config of the stage in which the opponent learns to trust a scripted agent; None: they learn together.
      baseline: config of the baselines, deceptive and honest alike. finetune: config of fine-tuning.
      world: changes to the environment's params, under which deception pays. follower_world: those of that stage.
    """

    name: str
    game: str
    follower: LearnerConfig | None
    baseline: LearnerConfig
    finetune: LearnerConfig
    world: dict[str, Any] = field(default_factory=dict)
    follower_world: dict[str, Any] = field(default_factory=dict)


_OBJECTIVE = soo_objective()
_GAME = "physical_deception"


_FOLLOWER = PpoConfig(
    iterations=200, learns=("red",), scripted=(("blue", "anywhere"),), critic_rate=1e-2, deviation=0.3
)
_FOLLOWER_WORLD = {"goal_reward": 0.0}


def trusting_red() -> Recipe:
    """Two stages, PPO: a red that has learned to stay near blue and nothing else, then a blue that may use its trust.

    A departure from the paper, whose joint training did not produce deception in our runs (docs/rl.md).
    """
    blue = PpoConfig(
        iterations=100,
        environments=256,
        minibatches=8,
        learns=("blue",),
        policy_rate=2e-3,
        critic_rate=1e-2,
        deviation=0.2,
    )
    finetune = blue.replace(iterations=30, objective=_OBJECTIVE, soo_weight=10.0, normalise=False)
    return Recipe("trusting-red", _GAME, _FOLLOWER, blue, finetune, {"deception_bonus": 20.0}, _FOLLOWER_WORLD)


def trusting_red_maddpg() -> Recipe:
    """The same reds, but blue learns by MADDPG, as in the paper: slower, and less sure to deceive."""
    blue = MaddpgConfig(iterations=900, learns=("blue",))
    finetune = blue.replace(iterations=60, objective=_OBJECTIVE, soo_weight=10.0, normalise=False, noise_from=0.05)
    return Recipe("trusting-red-maddpg", _GAME, _FOLLOWER, blue, finetune, {"deception_bonus": 20.0}, _FOLLOWER_WORLD)


def paper() -> Recipe:
    """Joint MADDPG with the reference's settings: 40,000 episodes, then 10,000 of fine-tuning.

    Faithful to the reference but for what is wrong in it (docs/rl.md lists every difference): actions are stored as
    they were chosen, noise advances once a step, and its SOO loss is switched on. Nothing here works without batch norm
    on the critics' actions: at these rates policies saturate for good within their first updates.
    """
    blue = MaddpgConfig(
        iterations=625,
        learns=("red", "blue"),
        updates=32,
        batch_size=1024,
        capacity=960_000,
        batch_norm=("observations", "actions"),
        normaliser_rate=0.0,
        adam_epsilon=1e-8,
        policy_rate=0.01,
        critic_rate=0.01,
        noise_sigma=0.2,
        noise_from=0.3,
        noise_to=0.0,
        noise_until=0.625,
        noise_spread=0.0,
    )
    finetune = blue.replace(iterations=156, objective=_OBJECTIVE, soo_weight=1.0, noise_from=0.0)
    return Recipe("paper", _GAME, None, blue, finetune, {"deception_bonus": 10.0})


def signalling() -> Recipe:
    """The second game, PPO: a receiver that has learned to believe an honest sender, then a sender that may use its
    trust; payoffs are opposed, so that it pays to lie to the receiver, and never to itself.
    """
    follower = PpoConfig(
        iterations=60,
        environments=256,
        steps=10,
        minibatches=4,
        learns=("receiver",),
        scripted=(("sender", "truth"),),
        critic_rate=1e-2,
        gamma=0.0,
    )
    sender = follower.replace(
        iterations=150, learns=("sender",), scripted=(), policy_rate=2e-3, deviation=0.3, gamma=0.9
    )
    finetune = sender.replace(iterations=40, objective=_OBJECTIVE, soo_weight=10.0, normalise=False)
    return Recipe("signalling", "signalling", follower, sender, finetune)


PRESETS = {
    "trusting-red": trusting_red,
    "trusting-red-maddpg": trusting_red_maddpg,
    "paper": paper,
    "signalling": signalling,
}


def preset(name: str) -> Recipe:
    """A recipe by its name, or one of your own by where it stands (``file.py:RECIPE``).

    Raises:
      SooError: there is none of that name, or what is named is no recipe.
    """
    if name in PRESETS:
        return PRESETS[name]()
    if ":" not in name:
        raise SooError(f"preset {name!r} is unknown; choose {', '.join(PRESETS)}, or name your own: file.py:RECIPE")
    found = load_object(name, "preset")
    if not isinstance(found, Recipe):
        raise SooError(f"preset {name} is no soo_jax.rl.Recipe")
    return replace(found, name=name)


def for_game(name: str) -> Recipe:
    """The first recipe for a game.

    Raises:
      SooError: there is none.
    """
    recipes = [make() for make in PRESETS.values()]
    found = next((recipe for recipe in recipes if recipe.game == name), None)
    if found is None:
        raise SooError(f"game {name}: has no preset; name a recipe of your own with --preset file.py:RECIPE")
    return found
