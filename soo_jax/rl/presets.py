"""Recipes by name: how baselines are made in which SOO has something to change, and how it is then applied."""

from __future__ import annotations

from dataclasses import dataclass, field
from typing import Any

from soo_jax.errors import SooError
from soo_jax.rl.config import LearnerConfig, MaddpgConfig, PpoConfig
from soo_jax.rl.views import soo_objective


@dataclass(frozen=True)
class Recipe:
    """How a pair of baselines is trained, and fine-tuned by SOO.

    Attributes:
      follower: config of the stage in which red learns to follow a scripted blue, or None: red learns with blue.
      follower_world: changes to the environment's params in that stage.
      blue: config of the baselines, deceptive and honest alike.
      bonus: ``deception_bonus`` of the deceptive baseline; the honest one has none.
      finetune: config of fine-tuning.
    """

    name: str
    follower: LearnerConfig | None
    blue: LearnerConfig
    finetune: LearnerConfig
    bonus: float
    follower_world: dict[str, Any] = field(default_factory=dict)


_OBJECTIVE = soo_objective()


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
    return Recipe("trusting-red", _FOLLOWER, blue, finetune, 20.0, _FOLLOWER_WORLD)


def trusting_red_maddpg() -> Recipe:
    """The same reds, but blue learns by MADDPG, as in the paper: slower, and less sure to deceive."""
    blue = MaddpgConfig(iterations=900, learns=("blue",))
    finetune = blue.replace(iterations=60, objective=_OBJECTIVE, soo_weight=10.0, normalise=False, noise_from=0.05)
    return Recipe("trusting-red-maddpg", _FOLLOWER, blue, finetune, 20.0, _FOLLOWER_WORLD)


def paper() -> Recipe:
    """Joint MADDPG with the reference's settings: 40,000 episodes, then 10,000 of fine-tuning.

    Faithful to the reference but for what is wrong in it (docs/rl.md lists every difference): actions are stored as
    they were chosen, noise advances once a step, and its SOO loss is switched on.
    """
    blue = MaddpgConfig(
        iterations=625,
        updates=32,
        batch_size=1024,
        capacity=960_000,
        policy_rate=0.01,
        critic_rate=0.01,
        noise_sigma=0.2,
        noise_from=0.3,
        noise_to=0.0,
        noise_until=0.625,
        noise_spread=0.0,
    )
    finetune = blue.replace(iterations=156, objective=_OBJECTIVE, soo_weight=1.0, noise_from=0.0)
    return Recipe("paper", None, blue, finetune, 10.0)


PRESETS = {"trusting-red": trusting_red, "trusting-red-maddpg": trusting_red_maddpg, "paper": paper}


def preset(name: str) -> Recipe:
    """A recipe by its name.

    Raises:
      SooError: there is none of that name.
    """
    if name not in PRESETS:
        raise SooError(f"preset {name!r} is unknown; choose {', '.join(PRESETS)}")
    return PRESETS[name]()
