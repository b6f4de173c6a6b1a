"""Finished parts of a long piece of work, kept as they come: a kill loses no more than the part in hand."""

from __future__ import annotations

import json
import warnings
from collections.abc import Callable
from functools import partial
from pathlib import Path
from typing import Any, TypeVar

from soo_jax.checkpoints import check_same, digest, plain_identity
from soo_jax.distributed import from_first, is_first
from soo_jax.errors import SooWarning
from soo_jax.files import append_whole, write_atomically

Value = TypeVar("Value")
_IDENTITY = "identity"


class Journal:
    """A file to which a part is added as soon as it is done, and never changed: JSON lines, each with a checksum.

    With several processes the first one writes and reads, and all know the same.

    Args:
      path: the file; folders above it are made.
      identity: what the parts belong to, in plain JSON values, as for ``soo_jax.checkpoints.Checkpoints``.
      resume: take over what the file holds; else it is begun anew.

    Raises:
      SooError: the file was written with other settings, or cannot be written.
    """

    def __init__(self, path: str | Path, identity: dict[str, Any], resume: bool = False):
        self.path = Path(path)
        identity = plain_identity(identity)
        self._known: dict[str, Any] = from_first(partial(self._kept, identity, resume))

    def once(self, name: str, do: Callable[[], Value]) -> Value:
        """The part of this name: as it was kept, or made now (of plain JSON values) and kept."""
        if name not in self._known:
            value = do()
            if is_first():
                append_whole(self.path, _line(name, value))
            self._known[name] = value
        return self._known[name]

    def _kept(self, identity: dict[str, Any], resume: bool) -> dict[str, Any]:
        """What the file holds; afterwards it holds just that, and ends with a whole line."""
        known = self._read() if resume and self.path.is_file() else {}
        if _IDENTITY in known:
            check_same(f"{self.path}: what is kept here", known[_IDENTITY], identity)
        else:  # nobody knows what the other lines belong to
            known = {_IDENTITY: identity}
        write_atomically(self.path, "".join(_line(*part) for part in known.items()))
        return known

    def _read(self) -> dict[str, Any]:
        *lines, _ = self.path.read_bytes().split(b"\n")  # behind the last line end: nothing, or what a kill has torn
        parts = [part for part in map(_part, lines) if part is not None]
        if len(parts) < len(lines):
            damaged = f"{self.path}: {len(lines) - len(parts)} of {len(lines)} lines are damaged"
            warnings.warn(f"{damaged}; what they held is done again", SooWarning, stacklevel=3)
        return dict(parts)


def _line(name: str, value: Any) -> str:
    return json.dumps({"name": name, "value": value, "check": digest([name, value])}, ensure_ascii=False) + "\n"


def _part(line: bytes) -> tuple[str, Any] | None:
    """What a line says; None if it is damaged."""
    try:
        told = json.loads(line)
        return (told["name"], told["value"]) if told["check"] == digest([told["name"], told["value"]]) else None
    except (ValueError, KeyError, TypeError, RecursionError):
        return None
