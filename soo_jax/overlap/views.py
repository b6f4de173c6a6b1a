"""Views: what was read of an agent on one input, and the views that an objective compares."""

from __future__ import annotations

from collections.abc import Hashable, Mapping
from typing import NamedTuple

from jax import Array

Key = Hashable
"""Names what was read. The room of the agent defines its keys; to this room a key is only looked up."""


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


class Views(NamedTuple):
    """The agent seen on matching inputs.

    Attributes:
      self_view: on the self-referencing inputs.
      other_view: on the other-referencing inputs, row by row the partners of ``self_view``.
      text: on ordinary inputs, for terms that keep ability.
      base_text: the same ordinary inputs through the agent before fine-tuning.
      base_self: the self-referencing inputs through the agent before fine-tuning.
    """

    self_view: View
    other_view: View
    text: View | None = None
    base_text: View | None = None
    base_self: View | None = None
