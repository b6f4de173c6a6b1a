"""Reinforcement learning: agents in games of deception, trained, fine-tuned by SOO and measured, wholly on device."""

from soo_jax.rl.agents import AgentName, Agents, load_agents, save_agents
from soo_jax.rl.config import MaddpgConfig, PpoConfig
from soo_jax.rl.games import Game, Metric, Words, game
from soo_jax.rl.learners import make_train
from soo_jax.rl.networks import Policy, act, action, hidden, read
from soo_jax.rl.population import setup, train_population
from soo_jax.rl.presets import Recipe, preset
from soo_jax.rl.views import soo_objective

__all__ = [
    "AgentName",
    "Agents",
    "Game",
    "MaddpgConfig",
    "Metric",
    "Policy",
    "PpoConfig",
    "Recipe",
    "Words",
    "act",
    "action",
    "game",
    "hidden",
    "load_agents",
    "make_train",
    "preset",
    "read",
    "save_agents",
    "setup",
    "soo_objective",
    "train_population",
]
