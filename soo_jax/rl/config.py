"""Settings of a learner: what shapes the program is static, every other number is a leaf that may be vmapped."""

from __future__ import annotations

from dataclasses import fields
from typing import Any

from flax import struct

from soo_jax.errors import SooError
from soo_jax.overlap import Objective


def _static(default: Any) -> Any:
    return struct.field(pytree_node=False, default=default)


@struct.dataclass
class MaddpgConfig:
    """MADDPG (Lowe et al. 2017, arXiv 1706.02275) with optional SOO terms in the policy's loss.

    Floats are leaves: stack them and vmap over the config. Everything else is static.

    Attributes:
      iterations: times that episodes are collected and updates made.
      environments, steps: parallel environments, and steps of the one episode that each plays per iteration.
      updates, batch_size: gradient steps per iteration, and transitions in each.
      capacity: transitions that the replay buffer holds. warmup: iterations of it that are filled before learning.
      hidden: widths of the hidden layers of policies and critics.
      learns: the agents that learn; the others are held fixed. scripted: of those, who walks to the goal by script
        rather than by policy. normalise: whether the normalisers still move.
      delay: updates of a critic per update of its policy.
      policy_rate, critic_rate: of Adam. clip: of the global gradient norm. tau: of the soft target update.
      gamma: discount per step. action_penalty: weight of the mean squared action in the policy's loss.
      noise_theta, noise_sigma: of the Ornstein-Uhlenbeck exploration noise, scaled from ``noise_from`` to ``noise_to``
        over the first ``noise_until`` of the iterations and, across the environments, by 1 -+ ``noise_spread``.
      normaliser_rate: least weight of an iteration in the running statistics of observations and rewards.
      task_weight: weight of the policy's task loss.
      soo_weight: weight of ``objective``; reached after the first ``soo_ramp`` of the iterations. soo_terms: weights of
        the objective's terms, in its order; empty for its own. mismatch: 1 pairs every self view with the other view
        of another step, which is a control.
      objective: terms of ``soo_jax.overlap`` over the self and other views of the game's agent, or None.
    """

    iterations: int = _static(900)
    environments: int = _static(64)
    steps: int = _static(50)
    updates: int = _static(48)
    batch_size: int = _static(256)
    capacity: int = _static(256_000)
    warmup: int = _static(4)
    hidden: tuple[int, ...] = _static((64, 64))
    learns: tuple[str, ...] = _static(("red", "blue"))
    scripted: tuple[str, ...] = _static(())
    normalise: bool = _static(True)
    delay: int = _static(1)
    policy_rate: float = 1e-3
    critic_rate: float = 3e-3
    clip: float = 0.5
    tau: float = 0.01
    gamma: float = 0.95
    action_penalty: float = 1e-3
    noise_theta: float = 0.15
    noise_sigma: float = 0.53
    noise_from: float = 0.8
    noise_to: float = 0.05
    noise_until: float = 0.7
    noise_spread: float = 0.75
    normaliser_rate: float = 0.01
    task_weight: float = 1.0
    soo_weight: float = 0.0
    soo_ramp: float = 0.0
    soo_terms: tuple[float, ...] = ()
    mismatch: float = 0.0
    objective: Objective | None = _static(None)

    @property
    def steps_per_iteration(self) -> int:
        """Environment steps, all environments together."""
        return self.environments * self.steps


_POSITIVE = ("iterations", "environments", "steps", "updates", "batch_size", "capacity", "delay")


def check(config: MaddpgConfig) -> MaddpgConfig:
    """The config, if it can be trained.

    Raises:
      SooError: a setting is out of range, or a batch is larger than what the buffer holds.
    """
    for name in _POSITIVE:
        if getattr(config, name) < 1:
            raise SooError(f"{name} must be at least 1, found {getattr(config, name)}")
    if config.capacity % config.steps_per_iteration:
        raise SooError(
            f"capacity {config.capacity} must be a multiple of environments x steps = {config.steps_per_iteration}"
        )
    filled = min(config.capacity, (config.warmup + 1) * config.steps_per_iteration)
    if config.batch_size > filled:
        raise SooError(
            f"batch_size {config.batch_size} is larger than what the replay buffer holds at the first update ({filled}); "
            "lower batch_size, or raise warmup or capacity"
        )
    return config


def changed(config: MaddpgConfig, values: dict[str, Any]) -> MaddpgConfig:
    """The config with some settings replaced, as read from a file or the command line.

    Raises:
      SooError: an unknown setting, or a value of the wrong kind.
    """
    kinds = {field.name: type(getattr(config, field.name)) for field in fields(config)}
    for name, value in values.items():
        if name not in kinds:
            raise SooError(f"setting {name!r} is unknown; known are {', '.join(kinds)}")
        wanted = kinds[name]
        if wanted is float and isinstance(value, int) and not isinstance(value, bool):
            values = {**values, name: float(value)}
        elif wanted is tuple and isinstance(value, list):
            values = {**values, name: tuple(value)}
        elif not isinstance(value, wanted) or (wanted is int and isinstance(value, bool)):
            raise SooError(f"setting {name} must be of type {wanted.__name__}, found {value!r}")
    return check(config.replace(**values))
