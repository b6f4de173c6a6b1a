"""Settings of a learner: what shapes the program is static, every other number is a leaf that may be vmapped."""

from __future__ import annotations

import math
from collections.abc import Collection, Mapping, Sequence
from dataclasses import fields
from typing import Any, ClassVar, TypeVar

import jax
import numpy as np
from flax import struct

from soo_jax.errors import SooError
from soo_jax.overlap import Objective
from soo_jax.overlap.views import OTHER, SELF, TEXT, check_served

SERVED = (SELF, OTHER, TEXT)
"""The inputs that learners serve: self views, their other views, and all that the agent saw (what text is to a
language model), each also as seen before fine-tuning."""


POSITIVE = (1e-12, 1e12)

INPUTS = ("observations", "actions")
"""What batch norm can be put on."""


def _static(default: Any) -> Any:
    return struct.field(pytree_node=False, default=default)


@struct.dataclass
class LearnerConfig:
    """What every learner is told.

    Floats are leaves: stack them and vmap over the config. Everything else is static.

    Attributes:
      iterations: times that episodes are played and updates made.
      environments, steps: parallel environments, and steps of the one episode that each plays per iteration.
      hidden: widths of the hidden layers of policies and critics.
      learns: the agents that learn, at least one; the others are held fixed. scripted: of those, pairs of who is led
        by a script rather than by a policy, and which of ``Game.scripts``. normalise: whether the normalisers still
        move.
      policy_rate, critic_rate: of Adam. clip: of the global gradient norm. gamma: discount per step.
      normaliser_rate: least weight of an iteration in the running statistics of observations and rewards.
      adam_epsilon: of Adam: gradients well below it hardly move anything.
      task_weight: weight of the policy's task loss.
      soo_weight: weight of ``objective``; reached after the first ``soo_ramp`` of the iterations. soo_terms: weights of
        the objective's terms, in its order; empty for its own. mismatch: 1 pairs every self view with the other view
        of another step, which is a control.
      objective: terms of ``soo_jax.overlap`` over the self and other views of the game's agent, or None.
      counts: names of settings that must be at least 1. limits: least and most of those that not every finite number
        fits. A config derived from this one adds its own to both.
    """

    counts: ClassVar[tuple[str, ...]] = ("iterations", "environments", "steps")
    limits: ClassVar[Mapping[str, tuple[float, float]]] = {
        **dict.fromkeys(("policy_rate", "critic_rate", "clip", "adam_epsilon"), POSITIVE),
        **dict.fromkeys(("gamma", "normaliser_rate", "soo_ramp", "mismatch"), (0.0, 1.0)),
    }
    iterations: int = _static(900)
    environments: int = _static(64)
    steps: int = _static(50)
    hidden: tuple[int, ...] = _static((64, 64))
    learns: tuple[str, ...] = _static(())
    scripted: tuple[tuple[str, str], ...] = _static(())
    normalise: bool = _static(True)
    policy_rate: float = 1e-3
    critic_rate: float = 3e-3
    clip: float = 0.5
    gamma: float = 0.95
    normaliser_rate: float = 0.01
    adam_epsilon: float = 1e-5
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

    def problem(self) -> str | None:
        """Why a learner of this kind could not be trained, in one line; None if it could."""
        return None


@struct.dataclass
class MaddpgConfig(LearnerConfig):
    """MADDPG (Lowe et al. 2017, arXiv 1706.02275).

    Attributes:
      updates, batch_size: gradient steps per iteration, and transitions in each.
      capacity: transitions that the replay buffer holds. warmup: iterations of it that are filled before learning.
      delay: updates of a critic per update of its policy.
      batch_norm: what learning normalises by each batch's own statistics, as the reference's batch norm does:
        ``observations`` (of policies and critics; otherwise by running statistics), ``actions`` (of critics; otherwise
        left as they are). Acting goes by running statistics either way, with batch norm by those of the batches.
      tau: of the soft target update. action_penalty: weight of the mean squared action in the policy's loss;
        logit_penalty: of that before tanh, as in Lowe et al.'s code.
      noise_theta, noise_sigma: of the Ornstein-Uhlenbeck exploration noise, scaled from ``noise_from`` to ``noise_to``
        over the first ``noise_until`` of the iterations and, across the environments, by 1 -+ ``noise_spread``.
    """

    counts: ClassVar[tuple[str, ...]] = (*LearnerConfig.counts, "updates", "batch_size", "capacity", "delay")
    limits: ClassVar[Mapping[str, tuple[float, float]]] = {
        **LearnerConfig.limits,
        **dict.fromkeys(("tau", "noise_until"), (0.0, 1.0)),
        **dict.fromkeys(("noise_from", "noise_to", "noise_sigma", "noise_spread"), (0.0, 1e12)),
        "noise_theta": (1e-12, 1.0),
    }
    updates: int = _static(48)
    batch_size: int = _static(256)
    capacity: int = _static(256_000)
    warmup: int = _static(4)
    delay: int = _static(1)
    batch_norm: tuple[str, ...] = _static(())
    tau: float = 0.01
    action_penalty: float = 1e-3
    logit_penalty: float = 0.0
    noise_theta: float = 0.15
    noise_sigma: float = 0.53
    noise_from: float = 0.8
    noise_to: float = 0.05
    noise_until: float = 0.7
    noise_spread: float = 0.75

    def problem(self) -> str | None:
        """Why the replay buffer or batch norm could not be used."""
        unknown = [name for name in self.batch_norm if name not in INPUTS]
        if unknown:
            return f"batch_norm: there is no input {unknown[0]!r}; choose from {', '.join(INPUTS)}"
        played = self.steps_per_iteration
        if self.capacity % played:
            return f"capacity {self.capacity} must be a multiple of environments x steps = {played}"
        filled = min(self.capacity, (self.warmup + 1) * played)
        if self.batch_size > filled:
            return (
                f"batch_size {self.batch_size} is larger than what the replay buffer holds at the first update "
                f"({filled}); lower batch_size, or raise warmup or capacity"
            )
        return None


@struct.dataclass
class PpoConfig(LearnerConfig):
    """Independent PPO (Schulman et al. 2017, arXiv 1707.06347).

    Attributes:
      epochs, minibatches: how often each step is learned from on average, and gradient steps in each such pass.
      trace: lambda of generalised advantage estimation (arXiv 1506.02438). ratio_clip: of the probability ratio.
      entropy: weight of the policy's entropy. deviation: standard deviation of a fresh policy's actions;
        least_deviation: below which it is not let fall.
    """

    counts: ClassVar[tuple[str, ...]] = (*LearnerConfig.counts, "epochs", "minibatches")
    limits: ClassVar[Mapping[str, tuple[float, float]]] = {
        **LearnerConfig.limits,
        **dict.fromkeys(("deviation", "least_deviation", "ratio_clip"), POSITIVE),
        "trace": (0.0, 1.0),
    }
    epochs: int = _static(4)
    minibatches: int = _static(4)
    trace: float = 0.95
    ratio_clip: float = 0.2
    entropy: float = 0.0
    deviation: float = 0.6
    least_deviation: float = 0.05

    def problem(self) -> str | None:
        """Why a pass could not be divided into minibatches."""
        played = self.steps_per_iteration
        if played % self.minibatches:
            return f"minibatches {self.minibatches} must divide environments x steps = {played}"
        return None


Config = TypeVar("Config", bound=LearnerConfig)


def check_learner(config: Config) -> Config:
    """The config, if it can be trained.

    Raises:
      SooError: a setting is out of range, or a batch is larger than what there is to draw it from.
    """
    for name in config.counts:
        if getattr(config, name) < 1:
            raise SooError(f"{name} must be at least 1, found {getattr(config, name)}")
    _check_numbers(config)
    if not config.hidden or min(config.hidden) < 1:
        raise SooError(f"hidden must name widths of at least 1, found {list(config.hidden)}")
    if not config.learns:
        raise SooError("learns names no agent, so that nothing would be learned; name those of the game that learn")
    if config.objective is None and _above_zero(config.soo_weight):
        raise SooError("soo_weight has no effect without an objective; leave it at 0, or fine-tune, which has one")
    if config.soo_terms and (config.objective is None or len(config.soo_terms) != len(config.objective.names)):
        names = config.objective.names if config.objective else ()
        raise SooError(
            f"soo_terms needs one weight for each term of the objective ({', '.join(names) or 'it has none'})"
        )
    if (wrong := config.problem()) is not None:
        raise SooError(wrong)
    return config


def _check_numbers(config: LearnerConfig) -> None:
    """Raises SooError for a number that is not finite or out of range; what is being traced is not looked at."""
    for field in fields(config):
        value = getattr(config, field.name)
        for number in value if isinstance(value, tuple) else (value,):
            if isinstance(number, bool | str | tuple | jax.core.Tracer) or not hasattr(number, "__float__"):
                continue
            least, most = config.limits.get(field.name, (-math.inf, math.inf))
            wrong = [x for x in np.ravel(np.asarray(number, float)) if not (math.isfinite(x) and least <= x <= most)]
            if wrong:
                within = "" if least == -math.inf else f" between {least:g} and {most:g}"
                raise SooError(f"{field.name} must be a finite number{within}, found {wrong[0]:g}")


def _above_zero(value: Any) -> bool:
    return not isinstance(value, jax.core.Tracer) and bool(np.any(np.asarray(value) > 0))


TRAINING = "training of agents"


def check_game(config: LearnerConfig, agents: Sequence[str], scripts: Collection[str] = ()) -> None:
    """Raises SooError where the config names agents or scripts that the game does not have, or its objective reads a
    view that no learner serves."""
    if config.objective is not None:
        check_served(config.objective.reads, SERVED, TRAINING)
    for setting, names in (("learns", config.learns), ("scripted", [name for name, _ in config.scripted])):
        for name in names:
            if name not in agents:
                raise SooError(f"{setting}: the game has no agent {name!r}; it has {', '.join(agents)}")
    for _, script in config.scripted:
        if script not in scripts:
            raise SooError(f"scripted: the game has no script {script!r}; it has {', '.join(scripts) or 'none'}")


def changed(config: Config, values: dict[str, Any]) -> Config:
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
    return check_learner(config.replace(**values))
