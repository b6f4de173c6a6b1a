"""A small PPO for gymnax environments with continuous actions. It knows gymnax, and nothing of our environments."""

from __future__ import annotations

from typing import NamedTuple

import flax.linen as nn
import jax
import jax.numpy as jnp
import optax

ENVIRONMENTS, STEPS, EPOCHS, MINIBATCHES = 64, 50, 4, 4
GAMMA, LAMBDA, CLIP, RATE = 0.9, 0.9, 0.2, 3e-3


class ActorCritic(nn.Module):
    """Mean action, log standard deviation and value."""

    actions: int

    @nn.compact
    def __call__(self, x):
        body = lambda x: nn.tanh(nn.Dense(32)(nn.tanh(nn.Dense(32)(x))))
        spread = self.param("spread", nn.initializers.constant(-0.5), (self.actions,))
        small = nn.initializers.variance_scaling(1e-4, "fan_in", "normal")
        return nn.Dense(self.actions, kernel_init=small)(body(x)), spread, nn.Dense(1)(body(x))[..., 0]


class Step(NamedTuple):
    """One transition of every environment."""

    observation: jax.Array
    action: jax.Array
    logp: jax.Array
    value: jax.Array
    reward: jax.Array
    done: jax.Array


def log_density(action, mean, spread):
    """Of a Gaussian, up to a constant."""
    return jnp.sum(-0.5 * ((action - mean) / jnp.exp(spread)) ** 2 - spread, axis=-1)


def advantages(steps, last_value):
    """Generalised advantage estimates ``[STEPS, ENVIRONMENTS]``; a time limit counts as an end."""

    def back(carry, step):
        advantage, next_value = carry
        on = GAMMA * (1.0 - step.done)
        advantage = step.reward + on * next_value - step.value + LAMBDA * on * advantage
        return (advantage, step.value), advantage

    return jax.lax.scan(back, (jnp.zeros_like(last_value), last_value), steps, reverse=True)[1]


def make_train(env, params, iterations):
    """``key -> [iterations]``, mean reward per step while training; all of it one program."""
    network = ActorCritic(env.action_space(params).shape[0])
    optimiser = optax.chain(optax.clip_by_global_norm(0.5), optax.adam(RATE))

    def loss(weights, batch):
        steps, advantage, target = batch
        mean, spread, value = network.apply(weights, steps.observation)
        ratio = jnp.exp(log_density(steps.action, mean, spread) - steps.logp)
        advantage = (advantage - advantage.mean()) / (advantage.std() + 1e-8)
        gain = jnp.minimum(ratio * advantage, jnp.clip(ratio, 1 - CLIP, 1 + CLIP) * advantage)
        return -gain.mean() + 0.5 * jnp.mean((value - target) ** 2) / (1.0 + target.var())

    def act(carry, key):
        weights, observation, state = carry
        for_action, for_env = jax.random.split(key)
        mean, spread, value = network.apply(weights, observation)
        action = mean + jnp.exp(spread) * jax.random.normal(for_action, mean.shape)
        keys = jax.random.split(for_env, ENVIRONMENTS)
        seen, state, reward, terminated, truncated, _ = jax.vmap(env.step, (0, 0, 0, None))(keys, state, action, params)
        step = Step(observation, action, log_density(action, mean, spread), value, reward, terminated | truncated)
        return (weights, seen, state), step

    def iteration(carry, key):
        weights, memory, observation, state = carry
        for_steps, for_batches = jax.random.split(key)
        (_, observation, state), steps = jax.lax.scan(
            act, (weights, observation, state), jax.random.split(for_steps, STEPS)
        )
        advantage = advantages(steps, network.apply(weights, observation)[2])
        data = jax.tree.map(
            lambda x: x.reshape(STEPS * ENVIRONMENTS, *x.shape[2:]), (steps, advantage, advantage + steps.value)
        )

        def update(carry, rows):
            weights, memory = carry
            gradient = jax.grad(loss)(weights, jax.tree.map(lambda x: x[rows], data))
            change, memory = optimiser.update(gradient, memory)
            return (optax.apply_updates(weights, change), memory), None

        order = lambda key: jax.random.permutation(key, STEPS * ENVIRONMENTS).reshape(MINIBATCHES, -1)
        rows = jax.vmap(order)(jax.random.split(for_batches, EPOCHS)).reshape(EPOCHS * MINIBATCHES, -1)
        (weights, memory), _ = jax.lax.scan(update, (weights, memory), rows)
        return (weights, memory, observation, state), steps.reward.mean()

    def train(key):
        for_weights, for_reset, for_iterations = jax.random.split(key, 3)
        observation, state = jax.vmap(env.reset, (0, None))(jax.random.split(for_reset, ENVIRONMENTS), params)
        weights = network.init(for_weights, observation[0])
        carry = (weights, optimiser.init(weights), observation, state)
        return jax.lax.scan(iteration, carry, jax.random.split(for_iterations, iterations))[1]

    return train
