"""What a term is, as plain values: the same in every process, and another one when its code changes."""

from __future__ import annotations

import hashlib
import inspect
from collections.abc import Mapping
from dataclasses import fields, is_dataclass
from functools import partial
from typing import Any


def content(value: Any) -> Any:
    """The value as JSON takes it, for identities: dataclasses by their fields, functions by name and source.

    Nothing in it depends on where the value lies in memory, so that two processes agree on it.
    """
    if value is None or isinstance(value, bool | int | float | str):
        return value
    if isinstance(value, Mapping):
        return {str(name): content(one) for name, one in sorted(value.items(), key=lambda item: str(item[0]))}
    if isinstance(value, set | frozenset):
        return sorted((content(one) for one in value), key=repr)
    if is_dataclass(value) and not isinstance(value, type):
        own = {field.name: content(getattr(value, field.name)) for field in fields(value)}
        return {"is": _name(type(value)), **own}
    if isinstance(value, tuple | list):
        return [content(one) for one in value]
    if isinstance(value, partial):
        return {
            "is": "partial",
            "of": content(value.func),
            "args": content(value.args),
            "with": content(value.keywords),
        }
    if callable(value):
        return {"is": _name(value), "source": _source(value)}
    if hasattr(value, "tobytes"):
        return hashlib.sha256(value.tobytes()).hexdigest()[:16]
    return {"is": _name(type(value)), "holds": content(vars(value)) if hasattr(value, "__dict__") else None}


def _name(value: Any) -> str:
    own = value if hasattr(value, "__qualname__") else type(value)
    return f"{own.__module__}:{own.__qualname__}"


def _source(function: Any) -> Any:
    """A hash of the function's text and what it closes over; where there is no text, of its code."""
    function = inspect.unwrap(function)
    try:
        text = inspect.getsource(function).encode()
    except (OSError, TypeError):
        code = getattr(function, "__code__", None)
        text = b"" if code is None else code.co_code + repr(code.co_names).encode()
    closed = [cell.cell_contents for cell in getattr(function, "__closure__", None) or ()]
    own = hashlib.sha256(text).hexdigest()[:16]
    return [own, content(closed)] if closed else own
