"""Views: what was read of an agent on one input, and the named views that an objective compares."""

from __future__ import annotations

from collections.abc import Hashable, Mapping
from typing import NamedTuple

from jax import Array

from soo_jax.errors import SooError

Key = Hashable
"""Names what was read. The room of the agent defines its keys; to this room a key is only looked up."""

SELF, OTHER, TEXT = "self", "other", "text"
"""Names of views: the self-referencing inputs, row by row their other-referencing partners, and ordinary inputs."""

BASE = "base:"
"""What precedes a view's name where the agent before fine-tuning is meant: ``base:self``."""


class View(NamedTuple):
    """Activations of one batch of inputs.

    Attributes:
      read: ``{key: array}`` with arrays ``[B, T, D]`` (``[B, D]`` for agents without tokens); one leading axis
        more where a key reads several layers.
      mask: ``[B, T]`` (``[B]``) bool, True where there is something to compare.
      tokens: ``[B, T]`` ids, for terms that predict them.
    """

    read: Mapping[Key, Array]
    mask: Array
    tokens: Array | None = None


Views = Mapping[str, View]
"""The agent seen on matching inputs, by the name of each. A trainer says which names it serves."""


def base(name: str) -> str:
    """The view of that name through the agent before fine-tuning."""
    return name if is_base(name) else BASE + name


def is_base(name: str) -> bool:
    """Whether a view is seen through the agent before fine-tuning, so that no gradient flows through it."""
    return name.startswith(BASE)


def inputs_of(name: str) -> str:
    """The inputs that a view is seen on: ``self`` for ``self`` and for ``base:self``."""
    return name.removeprefix(BASE)


def check_served(wanted: Mapping[str, tuple[Key, ...]], served: tuple[str, ...], trainer: str) -> None:
    """Raises SooError for a view that a term reads and a trainer has no inputs for, by name.

    Args:
      wanted: ``Objective.reads``. served: the inputs that the trainer has. trainer: what to call it.
    """
    for name in wanted:
        if inputs_of(name) not in served:
            raise SooError(
                f"view {name!r}: {trainer} does not serve it; it serves {', '.join(served)}, and each of them as it "
                f"was before fine-tuning ({BASE}{served[0]}, ...)"
            )
