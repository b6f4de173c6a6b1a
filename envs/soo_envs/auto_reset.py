"""Auto-reset that costs nothing while no episode ends.

gymnax resets in every step and throws the result away unless the episode is over. For a small world that is most of
the work, nearly all of it random bits. Under ``vmap`` a condition would become a selection, and nothing be saved; here
the batch is asked as a whole whether any of its episodes is over.
"""

from __future__ import annotations

from collections.abc import Callable
from functools import partial
from typing import Any

import jax
import jax.numpy as jnp
from gymnax.environments import environment
from jax import Array
from jax.custom_batching import custom_vmap


def replace_where(done: Array, make: Callable[..., Any], arguments: tuple, current: Any) -> Any:
    """``current`` where ``done`` is False, ``make(*arguments)`` where it is True, made only if there is such a place.

    Inside any number of vmaps it is one condition on the whole batch: ``make`` runs for all or for none.

    Args:
      done: scalar bool. make: pure. arguments, current: pytrees; ``make`` returns one like ``current``.
    """

    @custom_vmap
    def choose(done, arguments, current):
        def replaced():
            fresh, axes = make(*arguments), lambda x: done.reshape(done.shape + (1,) * (x.ndim - done.ndim))
            return jax.tree.map(lambda new, old: jnp.where(axes(old), new.astype(old.dtype), old), fresh, current)

        return jax.lax.cond(jnp.any(done), replaced, lambda: current)

    @choose.def_vmap
    def _(axis_size, batched, done, arguments, current):
        done_batched, arguments_batched, current_batched = batched
        spread = lambda x, is_batched: x if is_batched else jnp.broadcast_to(x, (axis_size, *jnp.shape(x)))
        axes = jax.tree.map(lambda is_batched: 0 if is_batched else None, arguments_batched)
        many = jax.vmap(make, in_axes=axes, axis_size=axis_size)
        current = jax.tree.map(spread, current, current_batched)
        replaced = replace_where(spread(done, done_batched), many, arguments, current)
        return replaced, jax.tree.map(lambda _: True, current_batched)

    return choose(done, arguments, current)


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
