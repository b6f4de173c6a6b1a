"""Environments with a self/other structure, in the conventions of gymnax 1.0. Needs only jax and gymnax."""

from soo_envs.physical_deception import (
    PhysicalDeception,
    PhysicalDeceptionParams,
    PhysicalDeceptionState,
    exact_walls,
    inner_walls,
    other_view,
    self_view,
)
from soo_envs.single_agent import SingleAgent

__all__ = [
    "PhysicalDeception",
    "PhysicalDeceptionParams",
    "PhysicalDeceptionState",
    "SingleAgent",
    "exact_walls",
    "inner_walls",
    "other_view",
    "self_view",
]
