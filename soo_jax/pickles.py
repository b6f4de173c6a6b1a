"""Pickles of plain values alone. A pickle is a program; this reader refuses every one that does more than list values.

Read are lists, tuples, dicts, sets, strings, numbers, booleans and None. Before anything is loaded, the
instructions are looked through: one that names code, calls it, or asks for more memory than the file is long ends the
reading.
"""

from __future__ import annotations

import io
import pickle
import pickletools
from pathlib import Path
from typing import Any

from soo_jax.errors import SooError

LARGEST = 64 * 2**20
"""Bytes of the largest pickle that is read."""

_SETS = {(module, name) for module in ("builtins", "__builtin__") for name in ("set", "frozenset")}
# What sets need under the protocols that have no instruction of their own for them; ``find_class`` judges the name.
_JUDGED = {"GLOBAL", "STACK_GLOBAL", "REDUCE"}
_REFUSED = {"INST", "OBJ", "NEWOBJ", "NEWOBJ_EX", "BUILD", "EXT1", "EXT2", "EXT4", "PERSID", "BINPERSID"}
_REFUSED |= {"NEXT_BUFFER", "READONLY_BUFFER"}
_STORED = {"PUT", "BINPUT", "LONG_BINPUT"}


class _Plain(pickle.Unpickler):
    def find_class(self, module: str, name: str) -> Any:
        if (module, name) not in _SETS:
            raise _Refused(f"it names code ({module}.{name})")
        return set if name == "set" else frozenset

    def persistent_load(self, pid: Any) -> Any:
        raise _Refused("it points to objects outside of the file")


class _Refused(Exception):
    """Why a pickle is not read."""


def read_pickle(path: str | Path) -> Any:
    """The plain value in a pickle.

    Raises:
      SooError: the file cannot be read, is too large, is no pickle, or holds anything but plain values.
    """
    path = Path(path)
    try:
        if path.stat().st_size > LARGEST:
            raise SooError(f"{path}: a pickle of more than {LARGEST // 2**20} MiB is not read; is it the right file?")
        raw = path.read_bytes()
    except OSError as error:
        raise SooError(f"{path}: cannot be read ({error.strerror})") from error
    try:
        _look_through(raw)
        return _Plain(io.BytesIO(raw)).load()
    except _Refused as error:
        raise SooError(
            f"{path}: refused, for {error}; only lists, tuples, dicts, sets, strings and numbers are read from pickles"
        ) from error
    except Exception as error:
        raise SooError(
            f"{path}: is no whole pickle ({str(error).splitlines()[0] if str(error) else error!r})"
        ) from error


def _look_through(raw: bytes) -> None:
    """Raises ``_Refused`` for instructions that plain values do not need. Nothing is built here."""
    for op, argument, _ in pickletools.genops(raw):
        if op.name in _REFUSED:
            raise _Refused(f"it makes objects ({op.name})")
        if op.name == "GLOBAL" and tuple(str(argument).split(" ", 1)) not in _SETS:
            raise _Refused(f"it names code ({str(argument).replace(' ', '.')})")
        if op.name in _STORED and int(argument) > len(raw):
            raise _Refused(f"it asks for a place {argument} in memory that its length does not explain")
