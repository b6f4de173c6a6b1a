"""Several processes as one run, on one host or on many: how they find one another, who writes, and what all must have.

Every process runs the same program on the same texts, and computes with its own devices' part of the arrays. What is
written, the first one writes; what numpy is to see whole, all gather.
"""

from __future__ import annotations

import json
import logging
import os
from collections.abc import Callable, Mapping
from typing import Any

import jax
import numpy as np

from soo_jax.errors import SooError, StorageError
from soo_jax.threads import make_room

AUTO = "auto"
SILENCE = 60
"""Seconds after which a process that is not heard of counts as gone, and the others stop."""
_FORM = "write HOST:PORT,COUNT,INDEX, or auto where a cluster says it"


def expected(environment: Mapping[str, str] | None = None) -> bool:
    """Whether a cluster has started several processes of this program: SLURM's tasks, or the workers of a TPU slice."""
    told = os.environ if environment is None else environment
    tasks = told.get("SLURM_STEP_NUM_TASKS", told.get("SLURM_NTASKS", "1"))
    workers = told.get("TPU_WORKER_HOSTNAMES", "").split(",")
    return ("SLURM_PROCID" in told and tasks.isdigit() and int(tasks) > 1) or len(workers) > 1


def begin(told: str = AUTO) -> None:
    """Joins the other processes; before anything is computed.

    Args:
      told: ``HOST:PORT,COUNT,INDEX`` (where the first process listens, how many there are, which one this is), or
        ``auto`` for what SLURM, GKE, Cloud TPU or MPI tell.

    Raises:
      SooError: ``told`` is malformed, no cluster is there, or the others do not come.
    """
    logging.getLogger("jax._src.distributed").setLevel(logging.WARNING)
    make_room(1)
    try:
        if told == AUTO:
            jax.distributed.initialize(heartbeat_timeout_seconds=SILENCE)
        else:
            jax.distributed.initialize(*_parsed(told), heartbeat_timeout_seconds=SILENCE)
    except SooError:
        raise
    except Exception as error:  # what a cluster's own tools raise
        said = str(error).strip().splitlines()[0] if str(error).strip() else type(error).__name__
        raise SooError(f"distributed: the processes did not find one another ({said}); {_FORM}") from error


def _parsed(told: str) -> tuple[str, int, int]:
    address, *numbers = told.split(",")
    if ":" not in address or len(numbers) != 2 or not all(number.isdigit() for number in numbers):
        raise SooError(f"distributed {told!r}: {_FORM}")
    count, index = map(int, numbers)
    if not index < count:
        raise SooError(f"distributed {told!r}: the index counts from 0 and must be below {count}; {_FORM}")
    return address, count, index


def is_first() -> bool:
    """Whether this is the process that writes; so is the only one."""
    return jax.process_index() == 0


def whole(x: Any) -> np.ndarray:
    """An array as numpy has it, from wherever its parts lie. Where they lie with several processes, all must ask."""
    if isinstance(x, jax.Array) and not (x.is_fully_addressable or x.is_fully_replicated):
        from jax.experimental import multihost_utils

        return np.asarray(multihost_utils.process_allgather(x, tiled=True))
    return np.asarray(x)


_LINKS = ("gloo", "nccl", "connection", "socket", "peer", "unavailable", "deadline", "coordination", "heartbeat")
"""What errors speak of that come from the links between processes, and not from this one's own work."""


def lost(error: BaseException) -> str | None:
    """What to say of an error of the runtime where another process of the run is gone; None where it is an error of
    this process itself, such as too little memory."""
    said = str(error).strip().splitlines()[0] if str(error).strip() else type(error).__name__
    if jax.process_count() == 1 or not any(word in said.lower() for word in _LINKS):
        return None
    return f"process {jax.process_index()} of {jax.process_count()} no longer reaches the others ({said[:120]})"


def from_first(find: Callable[[], Any]) -> Any:
    """What the first process finds (plain JSON), in all of them; or the SooError that it raises. All must ask."""
    if jax.process_count() == 1:
        return find()
    from jax.experimental import multihost_utils

    said, error = b"", None
    if is_first():
        try:
            said = json.dumps({"found": find()}).encode()
        except SooError as refused:
            error, kind = refused, isinstance(refused, StorageError)
            said = json.dumps({"storage": kind, "error": str(refused)}).encode()
    raw = np.zeros(int(multihost_utils.broadcast_one_to_all(np.asarray(len(said)))), np.uint8)
    raw[: len(said)] = np.frombuffer(said, np.uint8)
    told = json.loads(np.asarray(multihost_utils.broadcast_one_to_all(raw), np.uint8).tobytes())
    if "error" in told:
        raise error or (StorageError if told["storage"] else SooError)(told["error"])
    return told["found"]


def any_of(flag: bool) -> bool:
    """Whether it is true in any process; all must ask."""
    if jax.process_count() == 1:
        return flag
    from jax.experimental import multihost_utils

    return bool(np.any(multihost_utils.process_allgather(np.asarray(flag))))
