"""What is varied: the reference's settings as they are, each candidate alone, and a few together."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any, NamedTuple

from soo_jax.rl.config import MaddpgConfig, changed
from soo_jax.rl.presets import preset


class Variant(NamedTuple):
    """One way to train.

    Attributes:
      about: what differs from the first. changes: settings of ``MaddpgConfig``. length: part of the reference's length.
      at_once: episodes at a time, the steps in all and between two updates being the same.
    """

    about: str
    changes: Mapping[str, Any]
    length: float = 1 / 8
    at_once: int = 64


RUNNING = {"batch_norm": (), "normaliser_rate": 0.01, "adam_epsilon": 1e-5}
"""How the preset normalised before this study: by running statistics, which for the first 95 iterations are averages
over all that was played, not by the batch's."""
BATCH = {"batch_norm": ("observations", "actions"), "normaliser_rate": 0.0, "adam_epsilon": 1e-8}
"""As the reference does: inputs by the batch's statistics, rewards by those of all that was played; torch's epsilon."""

SHORT = {
    "running": Variant("running statistics in place of batch norm", RUNNING),
    "raw": Variant("... nothing normalised", RUNNING | {"normalise": False}),
    "epsilon": Variant("... Adam's epsilon 1e-8", RUNNING | {"adam_epsilon": 1e-8}),
    "slow": Variant("... both rates 0.001", RUNNING | {"policy_rate": 1e-3, "critic_rate": 1e-3}),
    "slow_policy": Variant("... the policy's rate 0.001", RUNNING | {"policy_rate": 1e-3}),
    "often": Variant("... four times the updates", RUNNING | {"updates": 128}),
    "two_at_once": Variant("... two episodes at a time", RUNNING, at_once=2),
    "small_buffer": Variant("... a buffer of 32,000 steps", RUNNING | {"capacity": 32_000}),
    "thrice": Variant("... noise advanced three times a step", RUNNING | {"noise_theta": 0.386, "noise_sigma": 0.3}),
    "loud": Variant("... three times the noise", RUNNING | {"noise_from": 0.9}),
    "unclipped": Variant("... gradients clipped at 100", RUNNING | {"clip": 100.0}),
    "gamma": Variant("... gamma 0.9", RUNNING | {"gamma": 0.9}),
    "tau": Variant("... tau 0.001", RUNNING | {"tau": 1e-3}),
    "warmup": Variant("... 64,000 steps of noise before learning", RUNNING | {"warmup": 20}),
    "logits": Variant("... a penalty of 0.001 on logits", RUNNING | {"logit_penalty": 1e-3}),
    "logits_strong": Variant("... a penalty of 0.01 on logits", RUNNING | {"logit_penalty": 1e-2}),
    "batch_norm": Variant("batch norm", BATCH),
    "batch_norm_observations": Variant("... on observations alone", BATCH | {"batch_norm": ("observations",)}),
    "batch_norm_actions": Variant("... on actions alone", BATCH | {"batch_norm": ("actions",)}),
}
"""On the test problem, an eighth of the length. Dots: as the last one without them, but for this."""

LONG = {
    "long_running": Variant("running statistics in place of batch norm", RUNNING, 1.0),
    "long_logits": Variant("... a penalty of 0.001 on logits", RUNNING | {"logit_penalty": 1e-3}, 1.0),
    "long_batch_norm": Variant("batch norm", BATCH, 1.0),
}
"""On the test problem, the whole length."""


def config_of(variant: Variant) -> MaddpgConfig:
    """Blue alone learns; red stands in a corner."""
    config = preset("paper").baseline.replace(learns=("blue",), scripted=(("red", "corner"),))
    fewer = config.environments // variant.at_once
    cadence = {
        "environments": variant.at_once,
        "updates": max(1, config.updates // fewer),
        "iterations": round(config.iterations * fewer * variant.length),
        "warmup": config.warmup * fewer,
    }
    return changed(config, {**cadence, **variant.changes})
