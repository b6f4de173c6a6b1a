"""Whether a setting has the kind of value that its class declares: settings come from JSON as well as from code."""

from __future__ import annotations

import math
import numbers
from types import UnionType
from typing import Any, Union, get_args, get_origin, get_type_hints

from soo_jax.errors import SooError

_KINDS = {int: "a whole number", float: "a finite number", str: "a text", bool: "true or false", type(None): "null"}


def check_kinds(values: Any, described_by: type | None = None, prefix: str = "") -> None:
    """Compares the values of a settings object with the kinds that its class declares.

    Raises:
      SooError: a value of another kind, by the name of the setting.
    """
    for name, kind in get_type_hints(described_by or type(values)).items():
        value = getattr(values, name)
        if not _fits(value, kind):
            shown = list(value) if isinstance(value, tuple) else value
            raise SooError(f"setting {prefix}{name} must be {_said(kind)}, found {shown!r}")


def _fits(value: Any, kind: Any) -> bool:
    if get_origin(kind) in (Union, UnionType):
        return any(_fits(value, one) for one in get_args(kind))
    if get_origin(kind) is tuple:
        return isinstance(value, tuple) and all(_fits(one, get_args(kind)[0]) for one in value)
    if kind in (int, float):
        wanted = numbers.Integral if kind is int else numbers.Real
        return isinstance(value, wanted) and not isinstance(value, bool) and math.isfinite(value)
    return isinstance(value, kind)


def _said(kind: Any) -> str:
    if get_origin(kind) in (Union, UnionType):
        return " or ".join(_said(one) for one in get_args(kind))
    if get_origin(kind) is tuple:
        return "a list with " + _said(get_args(kind)[0]) + " in each place"
    return _KINDS.get(kind, "an object of settings")
