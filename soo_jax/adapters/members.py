"""What sets stacked adapters apart: one value, made when they are trained, that stays with them wherever they go."""

from __future__ import annotations

import json
from collections.abc import Iterable, Iterator, Mapping, Sequence
from dataclasses import dataclass, field, replace
from pathlib import Path
from typing import Any

import jax

from soo_jax.adapters.lora import Lora, LoraConfig, in_own, stack_size, stacked, unstack
from soo_jax.errors import SooError
from soo_jax.models.config import DecoderConfig

Value = str | int | float | bool | None

SEED, RATE, SOURCE = "seed", "learning_rate", "source"
WEIGHT = "weight."
"""What precedes the name of a term in the name of its weight: ``weight.overlap``."""


@dataclass(frozen=True)
class Member:
    """One of several adapters that were trained, or are measured, together.

    Attributes:
      settings: name and value of all that it was trained with, flat: ``seed``, ``learning_rate``, ``layer``,
        ``weight.overlap``, ... Made by :meth:`of`.
    """

    settings: tuple[tuple[str, Value], ...] = ()

    @classmethod
    def of(cls, settings: Mapping[str, Any] | None = None, **more: Any) -> Member:
        """A member of these settings; lists become texts such as ``14,15``, for rows are flat."""
        return cls(tuple((name, _flat(value)) for name, value in {**(settings or {}), **more}.items()))

    @property
    def seed(self) -> int | None:
        """The seed of its training; None where nobody knows."""
        return self.get(SEED)

    def get(self, name: str, default: Any = None) -> Any:
        """The setting of that name."""
        return self.as_dict().get(name, default)

    def as_dict(self) -> dict[str, Value]:
        """The settings, for JSON."""
        return dict(self.settings)

    def but(self, **changes: Any) -> Member:
        """The same member with some settings changed or added."""
        return Member.of({**self.as_dict(), **changes})


def _flat(value: Any) -> Value:
    if isinstance(value, list | tuple):
        return ",".join(map(str, value))
    if value is None or isinstance(value, str | bool | int | float):
        return value
    return str(value)


def varying(members: Sequence[Member]) -> tuple[str, ...]:
    """The settings, beside the seed, in which these members differ, in the order in which they name them."""
    names = dict.fromkeys(name for member in members for name, _ in member.settings)
    return tuple(name for name in names if name != SEED and len({member.get(name) for member in members}) > 1)


def columns(members: Sequence[Member]) -> list[dict[str, Value]]:
    """What stands in each member's rows of results: its seed, and all in which the members differ."""
    differing = varying(members)
    return [{SEED: member.seed, **{name: member.get(name) for name in differing}} for member in members]


def folder_names(members: Sequence[Member]) -> list[str]:
    """A folder for each member: ``seed-0``, or ``seed-0-lr-0.001`` where the rates differ. Names are for people: what a
    member is stands in a file inside."""
    names = []
    for row in columns(members):
        parts = [f"seed-{row.pop(SEED)}"]
        parts += [f"{'lr' if name == RATE else name.replace(WEIGHT, '')}-{_short(row[name])}" for name in row]
        names.append("-".join(parts).replace("/", "_"))
    taken: dict[str, int] = {}
    for i, name in enumerate(names):
        taken[name] = taken.get(name, 0) + 1
        names[i] = name if taken[name] == 1 else f"{name}-{taken[name]}"
    return names


def _short(value: Value) -> str:
    return f"{value:g}" if isinstance(value, float) else str(value)


@dataclass(frozen=True)
class Stack:
    """Adapters that are trained or measured in one program, and what sets them apart.

    Attributes:
      lora: the adapters, leading axis S, in a form that has room for all. members: S of them.
      frozen_at: per adapter the update at which its loss or gradient was not finite (it was kept as it was before),
        or None.
      forms: per adapter its own rank, alpha, targets and layers, with which it comes out of the stack; unless given,
        those of ``lora``.
    """

    lora: Lora
    members: tuple[Member, ...]
    frozen_at: tuple[int | None, ...] = field(default=())
    forms: tuple[LoraConfig, ...] = field(default=())

    def __post_init__(self):
        if len(self.members) != stack_size(self.lora):
            raise SooError(f"{stack_size(self.lora)} adapters, but {len(self.members)} members to tell them apart")
        if not self.frozen_at:
            object.__setattr__(self, "frozen_at", (None,) * len(self.members))
        if not self.forms:
            object.__setattr__(self, "forms", (self.lora.config,) * len(self.members))

    @classmethod
    def of(
        cls,
        adapters: Stack | Lora | Iterable[Lora],
        members: Sequence[Member] | None = None,
        model: DecoderConfig | None = None,
    ) -> Stack:
        """A stack of whatever holds adapters; without ``members`` their seeds are 0, 1, ..."""
        if isinstance(adapters, Stack):
            return adapters if members is None else replace(adapters, members=tuple(members))
        adapters = adapters if isinstance(adapters, Lora) else tuple(adapters)
        forms = () if isinstance(adapters, Lora) else tuple(one.config for one in adapters)
        lora = stacked(adapters, model)
        if members is None:
            members = [Member.of(seed=i) for i in range(stack_size(lora))]
        return cls(lora, tuple(members), forms=forms)

    def __len__(self) -> int:
        return len(self.members)

    def __iter__(self) -> Iterator[Lora]:
        return map(in_own, unstack(self.lora), self.forms)

    def one(self, **settings: Any) -> tuple[Member, Lora]:
        """The one adapter with these settings (``seed=276``, ``learning_rate=1e-3``).

        Raises:
          SooError: there is none, or more than one.
        """
        found = [
            i
            for i, member in enumerate(self.members)
            if all(member.get(name) == _flat(value) for name, value in settings.items())
        ]
        asked = ", ".join(f"{name} {value}" for name, value in settings.items()) or "no settings"
        if len(found) != 1:
            there = "; ".join(
                ", ".join(f"{name} {_short(value)}" for name, value in row.items()) for row in columns(self.members)
            )
            many = f"{len(found)} adapters have" if found else "no adapter has"
            raise SooError(f"adapter: {many} {asked}; choose one of: {there}")
        return self.members[found[0]], self[found[0]]

    def __getitem__(self, index: int) -> Lora:
        return in_own(unstack(self.lora)[index], self.forms[index])


def _flatten(stack: Stack) -> tuple[tuple[Lora], tuple[Any, ...]]:
    return (stack.lora,), (stack.members, stack.frozen_at, stack.forms)


def _unflatten(rest: tuple[Any, ...], children: Sequence[Lora]) -> Stack:
    """Without a check: transformations put all kinds of things in place of the arrays."""
    made = object.__new__(Stack)
    for name, value in zip(("lora", "members", "frozen_at", "forms"), (children[0], *rest), strict=True):
        object.__setattr__(made, name, value)
    return made


jax.tree_util.register_pytree_node(Stack, _flatten, _unflatten)


def apart(members: Sequence[Member], sources: Sequence[str]) -> tuple[Member, ...]:
    """Members that were loaded, such that no two are the same.

    One that does not know its seed gets the next free number; where two are the same then, all are told where they
    came from.
    """
    numbered, free = [], iter(range(len(members)))
    taken = {member.seed for member in members}
    for member in members:
        if member.seed is None:
            member = member.but(seed=next(number for number in free if number not in taken))
        numbered.append(member)
    if len(set(numbered)) == len(numbered):
        return tuple(numbered)
    return tuple(member.but(**{SOURCE: source}) for member, source in zip(numbered, sources, strict=True))


def read_member(raw: Mapping[str, Any], where: Path) -> Member:
    """A member from the file inside an adapter's folder. Raises SooError where it holds no flat settings."""
    settings = raw.get("member", {})
    plain = isinstance(settings, dict) and all(
        value is None or isinstance(value, str | bool | int | float) for value in settings.values()
    )
    seed = settings.get(SEED) if plain else None
    if not plain or not (seed is None or (isinstance(seed, int) and not isinstance(seed, bool))):
        raise SooError(f"{where}: member must be an object of flat settings, found {json.dumps(settings)[:80]}")
    return Member.of(settings)
