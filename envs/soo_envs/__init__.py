"""Environments with a self/other structure, in the conventions of gymnax 1.0. Needs only jax and gymnax.

``gymnax.make`` knows them as ``PhysicalDeception-soo`` and ``Signalling-soo`` once this package is imported. The views
of Physical Deception are named here; those of Signalling are ``signalling.self_view`` and ``signalling.other_view``.
"""

from gymnax.registration import register, registered_envs

from soo_envs.physical_deception import (
    PhysicalDeception,
    PhysicalDeceptionParams,
    PhysicalDeceptionState,
    exact_walls,
    inner_walls,
    other_view,
    self_view,
)
from soo_envs.signalling import Signalling, SignallingParams, SignallingState
from soo_envs.single_agent import SingleAgent

__all__ = [
    "PhysicalDeception",
    "PhysicalDeceptionParams",
    "PhysicalDeceptionState",
    "Signalling",
    "SignallingParams",
    "SignallingState",
    "SingleAgent",
    "exact_walls",
    "inner_walls",
    "other_view",
    "self_view",
]

for _name, _environment in {"PhysicalDeception-soo": PhysicalDeception, "Signalling-soo": Signalling}.items():
    if _name not in registered_envs:  # a reload finds them there
        register(_name, _environment)
