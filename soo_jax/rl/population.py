"""Populations: many agents in one program, their seeds spread over devices, with progress, checkpoints and resume."""

from __future__ import annotations

import math
from collections.abc import Callable, Iterator, Mapping
from dataclasses import dataclass
from functools import cache, partial
from typing import Any, TypeVar

import jax
import jax.numpy as jnp
import numpy as np
from flax import struct
from jax import Array
from jax.sharding import Mesh, NamedSharding, PartitionSpec

from soo_jax.checkpoints import Checkpoints, save_or_leave, stop_signal
from soo_jax.errors import SooError
from soo_jax.metrics import Record
from soo_jax.progress import Progress
from soo_jax.rl.config import LearnerConfig, check_game, check_learner
from soo_jax.rl.games import Game, problem
from soo_jax.rl.learners import algorithm
from soo_jax.rl.learning import NEVER

Tree = TypeVar("Tree")

AT_ONCE = 512
"""Agents that play and learn side by side: on an accelerator, or on all of the CPU's devices, which share its memory.
Of a larger population so many at a time do, stack after stack in the same program."""
_CHUNKS = 20


@struct.dataclass
class Setup:
    """What each of A agents starts from; every leaf has the leading axis A.

    Attributes:
      keys: of the runs. params: of the environment. config: the learner's; static parts are shared.
      learner: what to go on from, or None. others: policies of agents that do not learn, or None.
    """

    keys: Array
    params: Any
    config: LearnerConfig
    learner: Any = None
    others: Any = None

    @property
    def size(self) -> int:
        """A."""
        return self.keys.shape[0]


def setup(
    keys: Array,
    params: Any,
    config: LearnerConfig,
    learner: Any = None,
    others: Mapping[str, Any] | None = None,
) -> Setup:
    """Stacks what is one for all; leaves that already have the leading axis of ``keys`` must be given stacked.

    Args:
      params, config: single, or stacked in all their float leaves.
      learner, others: stacked, or None.
    """
    size = keys.shape[0]
    if not size:
        raise SooError("seeds: none given; name at least one, e.g. --seed 0,1,2")
    spread = lambda leaf: leaf if jnp.ndim(leaf) == 1 else jnp.broadcast_to(jnp.asarray(leaf, float), (size,))
    return Setup(keys, _stacked(params, size), jax.tree.map(spread, config), learner, others)


def _stacked(params: Any, size: int) -> Any:
    return jax.tree.map(lambda leaf: leaf if jnp.ndim(leaf) == 1 else jnp.broadcast_to(leaf, (size,)), params)


@dataclass(frozen=True)
class History:
    """What happened in training.

    Attributes:
      values: ``{metric: [I, A]}``: rewards per step and losses of every agent.
      frozen_at: ``[A]``: the iteration at which a number was not finite, or ``NEVER``.
    """

    values: dict[str, np.ndarray]
    frozen_at: np.ndarray


def train_population(
    game: Game,
    begin: Setup,
    *,
    progress: Progress | None = None,
    checkpoints: Checkpoints | None = None,
    record: Record | None = None,
    chunk: int | None = None,
    at_once: int | None = None,
) -> tuple[Any, History]:
    """Trains all agents of a setup at once, spread over all devices.

    Args:
      checkpoints: where to save every ``checkpoints.every`` iterations and on SIGTERM, and to go on from what it holds.
        What was saved lies on the disk when this ends, also where an error ends it. The caller closes them.
      record: called after every device call with what happened so far.
      chunk: iterations per device call; by default a twentieth of the run.
      at_once: by default `AT_ONCE`. It bounds the memory of playing and learning; what agents keep (a replay buffer)
        is there for all of them.

    Returns:
      The learners ``[A, ...]``, gathered and bound to no device, so that stacks of any size go together; what happened.

    Raises:
      SooError: the config cannot be trained. Stopped: Ctrl-C or SIGTERM arrived; the state was saved first.
    """
    config = check_learner(begin.config)
    check_game(config, game.agents, game.scripts)
    if (wrong := problem(game, begin.params)) is not None:
        raise SooError(f"world: {wrong}")
    chunk = chunk or max(1, config.iterations // _CHUNKS)
    if checkpoints is not None and checkpoints.every:
        chunk = max(n for n in range(1, min(chunk, checkpoints.every) + 1) if checkpoints.every % n == 0)
    agents, mesh = begin.size, device_mesh(begin.size)
    stacks = _stacks(agents, mesh, at_once or AT_ONCE)
    begin = padded(begin, agents, mesh.size * stacks)
    start, advance = _programs(game, mesh)
    # What is given may lie on other devices than these: a red trained alone, blues by the dozen.
    begin = jax.device_put(begin, NamedSharding(mesh, PartitionSpec("sweep")))
    state = start(begin)
    values = _no_history(game, begin, config)
    if checkpoints is not None and (saved := checkpoints.restore({"state": _plain(state), "history": values})):
        state, values = _as_before(state, saved["state"]), jax.tree.map(np.array, saved["history"])
    done = int(np.max(jax.device_get(state.iteration)))
    if record is not None and done:
        record(done, _of(values, agents))
    try:
        with stop_signal() as stop:
            for length in _lengths(done, config.iterations, chunk):
                state, metrics = advance(state, begin, length, stacks)
                for name, value in jax.device_get(metrics).items():
                    values[name][done : done + length] = value.T
                done += length
                if record is not None:
                    record(done, _of(values, agents))
                if progress is not None:
                    progress(
                        done, config.iterations, {name: float(value[done - 1].mean()) for name, value in values.items()}
                    )
                save_or_leave(checkpoints, stop, done, done - length, {"state": _plain(state), "history": values})
    finally:
        if checkpoints is not None:
            checkpoints.wait()
    learner, frozen_at = jax.device_get((state.learner, state.frozen_at))
    learner = jax.tree.map(lambda leaf: jnp.asarray(leaf[:agents]), learner)
    return learner, History(_of(values, agents), np.asarray(frozen_at)[:agents])


def _of(values: Mapping[str, np.ndarray], agents: int) -> dict[str, np.ndarray]:
    """Metrics without those of the copies that fill devices up."""
    return {name: value[:, :agents] for name, value in values.items()}


def padded(agents: Tree, size: int, devices: int) -> Tree:
    """A stack of ``size`` agents with the last repeated until the devices divide it; drop the copies in the end."""
    more = -size % devices
    return jax.tree.map(lambda leaf: jnp.concatenate([leaf, *[leaf[-1:]] * more]), agents)


def _lengths(done: int, total: int, chunk: int) -> Iterator[int]:
    while done < total:
        length = min(chunk - done % chunk, total - done)
        yield length
        done += length


def device_mesh(size: int) -> Mesh:
    """A mesh over as many devices as there are agents for, and as shorten the work: 9 agents on 8 devices take as long
    on 5, two on each."""
    devices = jax.devices()
    each = -(-size // len(devices))
    return Mesh(np.asarray(devices[: -(-size // each)]), ("sweep",))


def _stacks(agents: int, mesh: Mesh, at_once: int) -> int:
    """How many stacks, one after the other, each device makes of its agents."""
    shared = mesh.size if mesh.devices.flat[0].platform == "cpu" else 1
    return math.ceil(math.ceil(agents / mesh.size) / max(1, at_once // shared))


@cache
def _programs(game: Game, mesh: Mesh) -> tuple[Callable[..., Any], Callable[..., Any]]:
    """Compiled starting and advancing of a stack; each device works on its own agents and never hears of the others."""
    rows = PartitionSpec("sweep")
    spread = partial(jax.shard_map, mesh=mesh, in_specs=rows, out_specs=rows, check_vma=False)

    @jax.jit
    def start(begin: Setup) -> Any:
        learn = algorithm(begin.config)
        one = lambda each: learn.init_state(game, each.config, each.params, each.keys, each.learner, each.others)
        return spread(jax.vmap(one))(begin)

    @partial(jax.jit, static_argnums=(2, 3), donate_argnums=0)
    def advance(state: Any, begin: Setup, length: int, stacks: int) -> tuple[Any, dict[str, Array]]:
        learn = algorithm(begin.config)

        def one(state: Any, each: Setup) -> Any:
            step = lambda state, _: learn.iterate(game, each.config, each.params, state)
            return jax.lax.scan(step, state, None, length=length)

        def all_of_a_device(state: Any, each: Setup) -> Any:
            if stacks == 1:
                return jax.vmap(one)(state, each)
            size = jax.tree.leaves(state)[0].shape[0] // stacks
            return jax.lax.map(lambda both: one(*both), (state, each), batch_size=size)

        return spread(all_of_a_device)(state, begin.replace(learner=None, others=None, keys=None))

    return start, advance


def _no_history(game: Game, begin: Setup, config: LearnerConfig) -> dict[str, np.ndarray]:
    learn = algorithm(config)

    def one(each: Setup) -> dict[str, Array]:
        state = learn.init_state(game, each.config, each.params, each.keys, each.learner, each.others)
        return learn.iterate(game, each.config, each.params, state)[1]

    names = jax.eval_shape(jax.vmap(one), begin)
    return {name: np.full((config.iterations, begin.size), np.nan, np.float32) for name in names}


def _plain(state: Any) -> Any:
    """The state with keys as numbers, which can be stored."""
    return jax.tree.map(
        lambda leaf: jax.random.key_data(leaf) if jnp.issubdtype(leaf.dtype, jax.dtypes.prng_key) else leaf, state
    )


def _as_before(like: Any, saved: Any) -> Any:
    """Undoes ``_plain``."""
    return jax.tree.map(
        lambda leaf, value: (
            jax.random.wrap_key_data(value) if jnp.issubdtype(leaf.dtype, jax.dtypes.prng_key) else value
        ),
        like,
        saved,
    )


def agents_frozen(history: History, seeds: list[int]) -> list[str]:
    """One line for every agent in whose numbers something was not finite."""
    return [
        f"seed {seed}: a number was not finite in iteration {at + 1}; it is kept as it was before"
        for seed, at in zip(seeds, history.frozen_at.tolist(), strict=True)
        if at != NEVER
    ]
