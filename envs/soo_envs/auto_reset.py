"""Auto-reset that costs nothing while no episode ends.

gymnax resets in every step and throws the result away unless the episode is over. For a small world that is most of
the work, nearly all of it random bits. Under ``vmap`` a condition would become a selection, and nothing be saved; here
the batch is asked as a whole whether any of its episodes is over, and if only a few are, only these are reset. Every
environment has a key of its own, so that a reset is the same, number for number, whoever else is reset.
"""

from __future__ import annotations

import math
from collections.abc import Callable
from functools import partial
from typing import Any

import jax
import jax.numpy as jnp
from gymnax.environments import environment
from jax import Array
from jax.custom_batching import custom_vmap

_SHARE = 16
"""What part of a batch is reset at once: fewer are done in most steps where episodes of 50 steps end at any time."""
_LEAST = 64
"""A smaller batch is reset whole: there is nothing to be won."""


def replace_where(done: Array, make: Callable[..., Any], arguments: tuple, current: Any) -> Any:
    """``current`` where ``done`` is False, ``make(*arguments)`` where it is True, made only if there is such a place.

    Inside any number of vmaps the batch is asked as a whole: ``make`` runs for nobody, for a sixteenth of the batch if
    that holds all who are done, or for everybody. What is made does not depend on it.

    Args:
      done: scalar bool. make: pure. arguments, current: pytrees; ``make`` returns one like ``current``.
    """
    return _replace(done, make, arguments, current, ())


def _replace(done: Array, make: Callable[..., Any], arguments: tuple, current: Any, batched: tuple) -> Any:
    """:func:`replace_where` of a batch.

    Args:
      done: ``[...]``, one axis for each vmap, the outermost first. current: leaves ``[..., *]``.
      batched: for each vmap a pytree like ``arguments``: whether a leaf has this axis.
    """

    @custom_vmap
    def choose(done: Array, arguments: tuple, current: Any) -> Any:
        everybody = lambda: _put(done, _for_all(make, batched, done.shape)(*arguments), current)
        if not batched or done.size < _LEAST:
            return jax.lax.cond(jnp.any(done), everybody, lambda: current)

        def replaced() -> Any:
            few, up_to = -(-done.size // _SHARE), jnp.cumsum(done.reshape(-1), dtype=jnp.int32)
            only_these = lambda: _put_few(_places(up_to, few), make, arguments, batched, done.shape, current)
            return jax.lax.cond(up_to[-1] <= few, only_these, everybody)

        return jax.lax.cond(jnp.any(done), replaced, lambda: current)

    @choose.def_vmap
    def _(axis_size: int, has_axis: list, done: Array, arguments: tuple, current: Any) -> tuple[Any, Any]:
        done_has, arguments_have, current_have = has_axis
        spread = lambda x, has: x if has else jnp.broadcast_to(x, (axis_size, *jnp.shape(x)))
        current = jax.tree.map(spread, current, current_have)
        replaced = _replace(spread(done, done_has), make, arguments, current, (arguments_have, *batched))
        return replaced, jax.tree.map(lambda _: True, current_have)

    return choose(done, arguments, current)


def _for_all(make: Callable[..., Any], batched: tuple, shape: tuple[int, ...]) -> Callable[..., Any]:
    """``make`` for the whole batch."""
    for has_axis, size in zip(reversed(batched), reversed(shape), strict=True):
        make = jax.vmap(make, in_axes=jax.tree.map(lambda has: 0 if has else None, has_axis), axis_size=size)
    return make


def _put(done: Array, fresh: Any, current: Any) -> Any:
    """What is fresh in the places that are done."""
    axes = lambda x: done.reshape(done.shape + (1,) * (x.ndim - done.ndim))
    return jax.tree.map(lambda new, old: jnp.where(axes(old), new.astype(old.dtype), old), fresh, current)


def _places(up_to: Array, few: int) -> Array:
    """Where in a flat batch those are that are done ``[few]``, from how many are up to each place ``[B]``; B where
    there are no more."""
    return jnp.searchsorted(up_to, jnp.arange(1, few + 1))


def _put_few(
    places: Array, make: Callable[..., Any], arguments: tuple, batched: tuple, shape: tuple[int, ...], current: Any
) -> Any:
    """Makes it for these places alone, each from its own arguments, and puts it there."""
    inside = jnp.unravel_index(jnp.minimum(places, math.prod(shape) - 1), shape)

    def own(leaf: Array, *has_axis: bool) -> Array:
        index = tuple(i for i, has in zip(inside, has_axis, strict=True) if has)
        return leaf[index] if index else leaf

    axes = jax.tree.map(lambda *has_axis: 0 if any(has_axis) else None, *batched)
    fresh = jax.vmap(make, in_axes=axes, axis_size=len(places))(*jax.tree.map(own, arguments, *batched))

    def put(old: Array, new: Array) -> Array:
        rows = old.reshape(-1, *old.shape[len(shape) :])
        return rows.at[places].set(new.astype(old.dtype), mode="drop").reshape(old.shape)

    return jax.tree.map(put, current, fresh)


class AutoResetEnvironment(environment.Environment):
    """gymnax's ``Environment`` with the same ``step``, number for number, that resets only when an episode ends."""

    @partial(jax.jit, static_argnames=("self",))
    def step(
        self, key: Array, state: Any, action: Any, params: Any = None
    ) -> tuple[Any, Any, Array, Array, Array, dict[Any, Any]]:
        """Steps, and starts a new episode if this one is over; see ``gymnax.environments.environment``.

        Returns:
          Observation and state (of the new episode if there is one), reward, terminated, truncated, and info with
          ``final_observation``, the one before any reset.
        """
        params = self.default_params if params is None else params
        now, again = jax.random.split(key)
        final, after, reward, terminated, info = self.step_env(now, state, action, params)
        truncated = self.is_truncated(after, params)
        observation, after = replace_where(terminated | truncated, self.reset_env, (again, params), (final, after))
        info = {**info, "terminated": terminated, "truncated": truncated, "final_observation": final}
        return observation, after, reward, terminated, truncated, info
