"""Meshes and sharding: one table from logical axis names to mesh axes, for every architecture.

Mesh axes: ``sweep`` (stacked adapters), ``data`` and ``fsdp`` (rows of a batch; ``fsdp`` also splits the weights),
``tensor`` (heads, MLP, vocabulary).
"""

from __future__ import annotations

import math
from collections.abc import Sequence
from typing import Any

import jax
import numpy as np
from jax.sharding import Mesh, NamedSharding, PartitionSpec

from soo_jax.errors import SooError

AXES = ("sweep", "data", "fsdp", "tensor")
RULES: dict[str, str | None] = {
    "layers": None,
    "width": "fsdp",
    "vocab": "tensor",
    "heads": "tensor",
    "kv_heads": "tensor",
    "mlp": "tensor",
    "whole": None,
}
"""Logical axis of a weight -> mesh axis. An axis that does not divide evenly stays whole."""
BATCH = ("data", "fsdp")


def parse_mesh(text: str, devices: Sequence[Any] | None = None) -> Mesh:
    """A mesh from ``"data=2,fsdp=2,tensor=2"``; axes left out have size 1.

    Raises:
      SooError: an unknown axis, a size that is no positive number, or more devices than there are.
    """
    devices = list(jax.devices() if devices is None else devices)
    sizes = mesh_sizes(text, len(devices))
    return Mesh(np.asarray(devices[: math.prod(sizes.values())]).reshape(tuple(sizes.values())), AXES)


def mesh_sizes(text: str, count: int) -> dict[str, int]:
    """The size of every axis of the mesh that a text asks for, on so many devices. Raises SooError as parse_mesh."""
    sizes = dict.fromkeys(AXES, 1)
    for part in filter(None, (piece.strip() for piece in text.split(","))):
        name, _, size = part.partition("=")
        if name not in sizes or not size.isdigit() or int(size) < 1:
            raise SooError(f"mesh {text!r}: {part!r} is wrong; write AXIS=SIZE with axes {', '.join(AXES)}")
        sizes[name] = int(size)
    if (needed := math.prod(sizes.values())) > count:
        raise SooError(f"mesh {text!r} needs {needed} devices, but there are {count}; choose smaller sizes")
    return sizes


def param_shardings(mesh: Mesh, axes: Any, shapes: Any) -> Any:
    """A ``NamedSharding`` for every parameter.

    Args:
      axes: tree of tuples of logical axis names (``models.decoder.logical_axes``).
      shapes: tree of anything with ``.shape`` (``models.decoder.param_shapes``).
    """

    def one(names: tuple[str, ...], leaf: Any) -> NamedSharding:
        split = [
            rule if (rule := RULES[name]) is not None and size % mesh.shape[rule] == 0 else None
            for name, size in zip(names, leaf.shape, strict=True)
        ]
        return NamedSharding(mesh, PartitionSpec(*split))

    return jax.tree.map(one, axes, shapes, is_leaf=lambda x: isinstance(x, tuple))


def replicated(mesh: Mesh) -> NamedSharding:
    """The whole array on every device."""
    return NamedSharding(mesh, PartitionSpec())


def settled(tree: Any, mesh: Mesh | None) -> Any:
    """The tree with every array that has no place on the mesh yet whole on each of its devices."""
    if mesh is None:
        return tree
    placed = lambda leaf: isinstance(leaf.sharding, NamedSharding) and leaf.sharding.mesh == mesh
    return jax.tree.map(lambda leaf: leaf if placed(leaf) else jax.device_put(leaf, replicated(mesh)), tree)


def stack_sharding(mesh: Mesh, size: int) -> NamedSharding:
    """Stacked arrays ``[S, ...]`` over the ``sweep`` axis, if S divides evenly."""
    return NamedSharding(mesh, PartitionSpec("sweep" if size % mesh.shape["sweep"] == 0 else None))


def rows_spec(mesh: Mesh, rows: int) -> PartitionSpec:
    """How the rows of a batch are split: over ``data`` and ``fsdp`` as far as they divide evenly."""
    for split in (BATCH, ("data",), ("fsdp",)):
        if rows % math.prod(mesh.shape[name] for name in split) == 0:
            return PartitionSpec(split)
    return PartitionSpec()


def put_rows(tree: Any, mesh: Mesh | None) -> Any:
    """Arrays on a mesh: the leading axis of each split as a batch is, scalars whole. Without a mesh, as they are."""
    if mesh is None:
        return tree
    spec = lambda x: rows_spec(mesh, x.shape[0]) if x.ndim else PartitionSpec()
    return jax.tree.map(lambda x: jax.device_put(x, NamedSharding(mesh, spec(x))), tree)


def constrain_rows(x: jax.Array, mesh: Mesh | None) -> jax.Array:
    """Splits the leading axis of ``x`` over the batch axes of the mesh; without a mesh, ``x`` as it is."""
    if mesh is None:
        return x
    return jax.lax.with_sharding_constraint(x, NamedSharding(mesh, rows_spec(mesh, x.shape[0])))
