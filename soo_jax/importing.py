"""Code of the user's own, named on the command line: ``file.py:name`` or ``pkg.module:name``."""

from __future__ import annotations

import importlib
import importlib.util
import sys
from pathlib import Path
from typing import Any

from soo_jax.errors import SooError

_KNOWN: dict[Path, tuple[tuple[int, int], Any]] = {}
"""Files that were executed, as they were then."""


def load_object(spec: str, what: str) -> Any:
    """What ``file.py:name`` or ``pkg.module:name`` names. The file is the user's own choice and is executed.

    Args:
      what: which kind of thing it is to be, for messages.

    Raises:
      SooError: there is no such module or name, or the file fails on import.
    """
    place, _, name = spec.rpartition(":")
    if not place or not name:
        raise SooError(f"{what} {spec!r}: write file.py:name or pkg.module:name")
    try:
        module = _module_from_file(Path(place)) if place.endswith(".py") else importlib.import_module(place)
    except ImportError as error:
        raise SooError(f"{what} {spec}: cannot be imported ({error})") from error
    if not hasattr(module, name):
        raise SooError(f"{what} {spec}: {place} has no {name}")
    return getattr(module, name)


def _module_from_file(path: Path) -> Any:
    if not path.is_file():
        raise SooError(f"{path}: no such file")
    stamp = (path.stat().st_mtime_ns, path.stat().st_size)
    known = _KNOWN.get(path.resolve())
    if known is not None and known[0] == stamp:
        return known[1]  # a class that is named twice must be one class
    name = f"soo_own_{path.stem}"
    spec = importlib.util.spec_from_file_location(name, path)
    module = importlib.util.module_from_spec(spec)
    sys.modules[name] = module  # dataclasses look their module up
    try:
        spec.loader.exec_module(module)
    except Exception as error:
        del sys.modules[name]
        raise SooError(f"{path}: fails on import ({type(error).__name__}: {error})") from error
    _KNOWN[path.resolve()] = (stamp, module)
    return module
