"""Learners behind one protocol: MADDPG, PPO, and whatever is registered beside them."""

from soo_jax.rl.learners.protocol import Algorithm, algorithm, make_train, register

__all__ = ["Algorithm", "algorithm", "make_train", "register"]
