"""Trained agents as one stack with names, and the files that hold them."""

from __future__ import annotations

import json
from collections.abc import Callable, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any, NamedTuple

import jax
import jax.numpy as jnp
import numpy as np
from jax import Array

from soo_jax.errors import SooError
from soo_jax.files import write_atomically

FORMAT = "soo-agents/1"
_PARAMS = "1."
"""With what the names of the params' leaves begin."""


class AgentName(NamedTuple):
    """Which agent it is: what was done to it, which red it was trained against, its seed."""

    condition: str
    red: int
    seed: int


@dataclass(frozen=True)
class Agents:
    """A stack of A agents.

    Attributes:
      names: one each. learner: a learner ``[A, ...]``, the reds that they were trained against included.
      params: of the worlds that they were trained in, ``[A]`` each.
    """

    names: tuple[AgentName, ...]
    learner: Any
    params: Any

    def __len__(self) -> int:
        return len(self.names)

    @property
    def policies(self) -> dict[str, Any]:
        """Of everybody, ``[A, ...]``."""
        return self.learner.policies

    @property
    def reds(self) -> tuple[int, ...]:
        """Which opponent each met."""
        return tuple(name.red for name in self.names)

    def where(self, keep: Callable[[AgentName], bool], asked: str = "these") -> Agents:
        """Those whose names are kept.

        Args:
          asked: what they are called in the error.

        Raises:
          SooError: there are none.
        """
        rows = np.asarray([i for i, name in enumerate(self.names) if keep(name)], int)
        if not len(rows):
            each = lambda part: ", ".join(str(value) for value in dict.fromkeys(getattr(n, part) for n in self.names))
            there = [f"{part}s {each(part)}" for part in AgentName._fields]
            raise SooError(f"{asked}: there are no such agents; there are {'; '.join(there)}")
        take = lambda tree: jax.tree.map(lambda leaf: jnp.asarray(leaf)[rows], tree)
        return Agents(tuple(self.names[i] for i in rows), take(self.learner), take(self.params))

    def of(self, condition: str) -> Agents:
        """Those of one condition."""
        return self.where(lambda name: name.condition == condition, f"condition {condition}")

    def called(self, condition: str) -> Agents:
        """The same agents under another condition's name."""
        return Agents(tuple(name._replace(condition=condition) for name in self.names), self.learner, self.params)

    def with_params(self, **changes: float) -> Agents:
        """The same agents in another world."""
        size = len(self)
        spread = {name: jnp.full(size, value) for name, value in changes.items()}
        return Agents(self.names, self.learner, self.params.replace(**spread))

    def with_policy(self, agent: str, policy: Any) -> Agents:
        """The same agents with somebody's policies ``[A, ...]`` replaced."""
        policies = {**self.learner.policies, agent: policy}
        return Agents(self.names, self.learner.replace(policies=policies), self.params)


def together(parts: Sequence[Agents]) -> Agents:
    """Several stacks as one."""
    join = lambda *trees: jax.tree.map(lambda *leaves: jnp.concatenate([jnp.asarray(x) for x in leaves]), *trees)
    names = tuple(name for part in parts for name in part.names)
    return Agents(names, join(*(part.learner for part in parts)), join(*(part.params for part in parts)))


def save_agents(path: Path, agents: Agents, about: dict[str, Any]) -> None:
    """Writes a safetensors file: every leaf by its path, names and ``about`` (JSON) in the header.

    Raises:
      SooError: the disk refuses.
    """
    from safetensors.numpy import save

    leaves = {name: np.ascontiguousarray(leaf) for name, leaf in _leaves(agents).items()}
    header = {"format": FORMAT, "names": json.dumps([list(name) for name in agents.names]), "about": json.dumps(about)}
    write_atomically(path, save(leaves, header))


def read_about(path: Path) -> tuple[tuple[AgentName, ...], dict[str, Any]]:
    """Names and ``about`` of a file of agents, without its arrays.

    Raises:
      SooError: there is no such file, or it is not one of agents.
    """
    from safetensors import SafetensorError, safe_open

    if not path.is_file():
        raise SooError(f"{path}: no such file; give a run folder of soo rl train, finetune or reproduce")
    try:
        with safe_open(path, "np") as file:
            header = file.metadata() or {}
    except (SafetensorError, OSError) as error:
        raise SooError(f"{path}: is damaged ({error}); the run has to be made again") from error
    if header.get("format") != FORMAT:
        raise SooError(f"{path}: holds no agents of this version of soo-jax ({FORMAT})")
    names = tuple(AgentName(str(c), int(r), int(s)) for c, r, s in json.loads(header["names"]))
    return names, json.loads(header["about"])


def load_agents(path: Path, like: Callable[[int], tuple[Any, Any]]) -> Agents:
    """Reads agents back.

    Args:
      like: number of agents -> a learner and params of the shapes that the file must have (arrays or shapes).

    Raises:
      SooError: the file is missing, damaged, or was written with another config.
    """
    from safetensors.numpy import load_file

    names, _ = read_about(path)
    found = load_file(path)
    learner, params = like(len(names))
    template = Agents(names, learner, params)
    known = {name: leaf for name, leaf in _leaves(template, arrays=False).items() if name.startswith(_PARAMS)}
    # A number of the world that an earlier version did not know was not at work: its default stands for it.
    found = {name: leaf for name, leaf in known.items() if isinstance(leaf, Array)} | found
    wanted = {name: tuple(leaf.shape) for name, leaf in _leaves(template, arrays=False).items()}
    shapes = {name: tuple(leaf.shape) for name, leaf in found.items()}
    if wanted != shapes:
        differing = sorted(name for name in wanted.keys() | shapes if wanted.get(name) != shapes.get(name))
        raise SooError(f"{path}: these agents were made with another config ({differing[0]} differs); use the same one")
    tree = (learner, params)
    paths, treedef = jax.tree_util.tree_flatten_with_path(tree)
    learner, params = jax.tree.unflatten(treedef, [jnp.asarray(found[_name(path)]) for path, _ in paths])
    return Agents(names, learner, params)


def _leaves(agents: Agents, arrays: bool = True) -> dict[str, Any]:
    paths, _ = jax.tree_util.tree_flatten_with_path((agents.learner, agents.params))
    return {_name(path): np.asarray(leaf) if arrays else leaf for path, leaf in paths}


def _name(path: Any) -> str:
    return jax.tree_util.keystr(path, simple=True, separator=".")


def agent_keys(names: Sequence[AgentName], stage: int) -> Array:
    """A key for every agent and stage, from its seed and red alone: no agent depends on who else is in the stack."""
    one = lambda seed, red: jax.random.fold_in(jax.random.fold_in(jax.random.key(seed), red), stage)
    seeds = jnp.asarray([name.seed for name in names])
    return jax.vmap(one)(seeds, jnp.asarray([name.red for name in names]))
