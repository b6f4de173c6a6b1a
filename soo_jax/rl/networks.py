"""Policies and critics as Flax modules, and the pytree that a trained policy is.

The networks are those of the paper's reference (Carauleanu et al. 2024, RL experiment): two hidden layers of 64 with
leaky ReLU, inputs normalised, actions through tanh from a small last layer. Where the reference has batch norm on the
inputs, these have running statistics of the collected observations: the same while acting, steadier while learning,
and they can be frozen.
"""

from __future__ import annotations

from collections.abc import Iterable
from typing import Any, NamedTuple

import flax.linen as nn
import jax
import jax.numpy as jnp
from flax import struct
from jax import Array
from jax.nn.initializers import Initializer, variance_scaling

from soo_jax.errors import SooError

_FAN_IN: Initializer = variance_scaling(1 / 3, "fan_in", "uniform")  # uniform in +-1/sqrt(fan in)
_EPSILON = 1e-5


def _small(key: Array, shape: tuple[int, ...], dtype: Any = jnp.float32) -> Array:
    """Uniform in +-3e-3, so that a fresh policy acts near zero, where tanh has its slope."""
    return jax.random.uniform(key, shape, dtype, -3e-3, 3e-3)


class Actor(nn.Module):
    """Normalised observation ``[..., O]`` to action ``[..., A]`` in (-1, 1) and the hidden layers' activations."""

    actions: int
    hidden: tuple[int, ...] = (64, 64)

    @nn.compact
    def __call__(self, x: Array) -> tuple[Array, tuple[Array, ...]]:
        layers = []
        for width in self.hidden:
            x = nn.leaky_relu(nn.Dense(width, kernel_init=_FAN_IN)(x))
            layers.append(x)
        return jnp.tanh(nn.Dense(self.actions, kernel_init=_small)(x)), tuple(layers)


class Critic(nn.Module):
    """Everybody's normalised observations and actions ``[..., I]`` to a value ``[...]``."""

    hidden: tuple[int, ...] = (64, 64)

    @nn.compact
    def __call__(self, x: Array) -> Array:
        for width in self.hidden:
            x = nn.leaky_relu(nn.Dense(width, kernel_init=_FAN_IN)(x))
        return nn.Dense(1, kernel_init=_FAN_IN)(x)[..., 0]


@struct.dataclass
class Normaliser:
    """Running mean and variance of a signal ``[F]``."""

    mean: Array
    var: Array

    @classmethod
    def of_size(cls, *shape: int) -> Normaliser:
        """The identity, up to the epsilon."""
        return cls(jnp.zeros(shape), jnp.ones(shape))

    def __call__(self, x: Array) -> Array:
        return (x - self.mean) * jax.lax.rsqrt(self.var + _EPSILON)

    def updated(self, x: Array, rate: Array, floor: float = 1e-4) -> Normaliser:
        """Moves by ``rate`` towards the statistics of ``x [B, F]``; ``floor`` keeps rare signals from exploding."""
        mean = self.mean + rate * (x.mean(axis=0) - self.mean)
        spread = jnp.maximum(((x - mean) ** 2).mean(axis=0), floor)
        return Normaliser(mean, self.var + rate * (spread - self.var))


def whitened(x: Array) -> Array:
    """A batch ``[B, F]`` to mean 0 and variance 1 by its own statistics, through which gradients flow: batch norm."""
    return (x - x.mean(axis=0)) * jax.lax.rsqrt(x.var(axis=0) + _EPSILON)


@struct.dataclass
class Policy:
    """A deterministic policy: an actor's parameters and the normaliser of its observations; stack it for vmap."""

    params: Any
    normaliser: Normaliser


def init_policy(key: Array, observations: int, actions: int, hidden: tuple[int, ...]) -> Policy:
    """A fresh policy for observations ``[O]`` and actions ``[A]``."""
    params = Actor(actions, hidden).init(key, jnp.zeros(observations))["params"]
    return Policy(params, Normaliser.of_size(observations))


def actor_of(params: Any) -> Actor:
    """The module that parameters belong to: their shapes say it all."""
    widths = tuple(params[f"Dense_{i}"]["kernel"].shape[-1] for i in range(len(params)))
    return Actor(widths[-1], widths[:-1])


def before_tanh(params: Any, layers: tuple[Array, ...]) -> Array:
    """What an actor puts through tanh ``[..., A]``, from the activations of its hidden layers."""
    last = params[f"Dense_{len(layers)}"]
    return layers[-1] @ last["kernel"] + last["bias"]


def act(policy: Policy, observation: Array) -> Array:
    """Action ``[..., A]`` in (-1, 1) for a raw observation ``[..., O]``."""
    return actor_of(policy.params).apply({"params": policy.params}, policy.normaliser(observation))[0]


class PolicyProbe(NamedTuple):
    """What to read of a policy: a hidden layer, all of them side by side, or the action. A key for loss terms."""

    site: str
    layer: int | None = None


def hidden(layer: int | None = None) -> PolicyProbe:
    """The activations after a hidden layer ``[B, H]``; None joins all hidden layers, as the paper's measure does."""
    return PolicyProbe("hidden", layer)


def action() -> PolicyProbe:
    """The action ``[B, A]``."""
    return PolicyProbe("action")


def read(policy: Policy, observation: Array, probes: Iterable[PolicyProbe]) -> dict[PolicyProbe, Array]:
    """Runs the policy once and returns what the probes name, each ``[..., D]``.

    Raises:
      SooError: a probe that a policy does not have.
    """
    chosen, layers = actor_of(policy.params).apply({"params": policy.params}, policy.normaliser(observation))
    return {probe: _pick(probe, chosen, layers) for probe in probes}


def _pick(probe: PolicyProbe, chosen: Array, layers: tuple[Array, ...]) -> Array:
    match probe:
        case PolicyProbe("action", None):
            return chosen
        case PolicyProbe("hidden", None):
            return jnp.concatenate(layers, axis=-1)
        case PolicyProbe("hidden", int(layer)) if 0 <= layer < len(layers):
            return layers[layer]
    raise SooError(
        f"a policy with {len(layers)} hidden layers has nothing at {probe}; read hidden(0), hidden() or action()"
    )
