"""Orbax: save, resume, verify. A half-written checkpoint is never used."""

from __future__ import annotations

import errno
import hashlib
import json
import logging
import os
import shutil
import signal
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import Any, TypeVar

import jax
import orbax.checkpoint as ocp

from soo_jax.distributed import any_of, is_first
from soo_jax.errors import SooError
from soo_jax.files import disk_error, is_disk_full, read_json, write_atomically

State = TypeVar("State")
_IDENTITY = "identity.json"
_OVERHEAD = 1 << 20  # bytes that a checkpoint takes beside its arrays, generously


class Checkpoints:
    """The checkpoints of one run; the newest two are kept.

    Args:
      folder: where they lie.
      identity: what must be the same for a checkpoint to be resumed (settings, data, base weights), as plain JSON
        values, so that every process says the same; ``overlap.content`` makes such of terms and configs.
      every: steps between two checkpoints; 0 saves only when asked.
    """

    def __init__(self, folder: str | Path, identity: dict[str, Any], every: int = 0):
        self.folder = Path(folder).resolve()
        self.every = every
        try:
            self._identity = json.loads(json.dumps(identity, sort_keys=True))
        except TypeError as error:
            raise ValueError(
                f"identity of a checkpoint: {error}; give plain JSON values, which overlap.content makes of anything"
            ) from error
        logging.getLogger("absl").setLevel(logging.ERROR)  # Orbax reports every save
        options = ocp.CheckpointManagerOptions(max_to_keep=2, create=True, enable_async_checkpointing=False)
        try:
            self._manager = ocp.CheckpointManager(self.folder, options=options)
        except OSError as error:
            raise disk_error(self.folder, error) from error

    def due(self, step: int, last: int) -> bool:
        """Whether a multiple of ``every`` lies in ``(last, step]``."""
        return bool(self.every) and step // self.every > last // self.every

    def save(self, step: int, state: Any) -> None:
        """Writes the state beside and renames it; after this returns it survives a kill.

        Raises:
          SooError: the disk refuses.
        """
        if step in self._manager.all_steps():
            return
        needed = sum(leaf.nbytes for leaf in jax.tree.leaves(state)) + _OVERHEAD
        # Orbax, out of space in the middle of a write, fills the screen from threads that nobody can catch.
        if shutil.disk_usage(self.folder).free < needed:
            raise disk_error(self.folder, OSError(errno.ENOSPC, os.strerror(errno.ENOSPC)))
        try:
            if is_first():
                write_atomically(self.folder / _IDENTITY, json.dumps(self._identity, sort_keys=True) + "\n")
            self._manager.save(step, args=ocp.args.StandardSave(state))
            self._manager.wait_until_finished()
        except Exception as error:
            # Orbax and TensorStore wrap what the operating system says in exceptions of their own.
            if isinstance(error, OSError) or is_disk_full(error):
                raise disk_error(self.folder, error) from error
            raise

    def clear(self) -> None:
        """Forgets the states of an earlier run, so that none of them can be taken for one of this run."""
        for step in list(self._manager.all_steps()):
            self._manager.delete(step)
        if is_first():
            (self.folder / _IDENTITY).unlink(missing_ok=True)

    def restore(self, like: State) -> State | None:
        """The newest complete state, with the shapes and shardings of ``like``; None if there is none.

        Raises:
          SooError: the checkpoint belongs to other settings.
        """
        step = self._manager.latest_step()
        if step is None:
            return None
        check_identity(self.folder, self._identity)
        abstract = jax.tree.map(ocp.utils.to_shape_dtype_struct, like)
        return self._manager.restore(step, args=ocp.args.StandardRestore(abstract))

    def close(self) -> None:
        """Releases Orbax's threads."""
        self._manager.close()


def check_identity(folder: str | Path, identity: dict[str, Any]) -> None:
    """Compares what a folder's checkpoints were made with; a folder without checkpoints has nothing to object.

    Raises:
      SooError: the checkpoints belong to other settings.
    """
    if not (Path(folder) / _IDENTITY).is_file():
        return
    found, asked = read_json(Path(folder) / _IDENTITY), json.loads(json.dumps(identity))
    if found != asked:
        differing = sorted(key for key in asked | found if asked.get(key) != found.get(key))
        raise SooError(
            f"{folder}: this checkpoint was made with other settings ({', '.join(differing)}); "
            "resume with the same ones, or choose another folder"
        )


def digest(*parts: Any) -> str:
    """A short hash of JSON values or arrays, for an identity."""
    sha = hashlib.sha256()
    for part in parts:
        sha.update(part.tobytes() if hasattr(part, "tobytes") else json.dumps(part, sort_keys=True).encode())
    return sha.hexdigest()[:16]


class Stopped(SystemExit):
    """Ctrl-C or SIGTERM arrived, and the state was saved. Its code is the shell's for that signal: 130 or 143.

    Attributes:
      folder: where the state lies; None where nobody wanted it saved.
    """

    def __init__(self, number: int, folder: Path | None = None) -> None:
        super().__init__(128 + number)
        self.folder = folder


class StopSignal:
    """Whether Ctrl-C or SIGTERM arrived; its truth is what a loop asks between two steps.

    Attributes:
      number: of the signal, or None.
    """

    number: int | None = None

    def __bool__(self) -> bool:
        return self.number is not None

    def agree(self) -> None:
        """Takes over a signal that arrived in another process: all save, and all leave. All must ask."""
        if any_of(bool(self)) and not self:
            self.number = signal.SIGTERM

    def raise_if_set(self, folder: Path | None = None) -> None:
        """Leaves if a signal arrived: with its exit code where a state was saved in ``folder``, else as Python does."""
        if self.number == signal.SIGINT and folder is None:
            raise KeyboardInterrupt
        if self.number is not None:
            raise Stopped(self.number, folder)


@contextmanager
def stop_signal() -> Iterator[StopSignal]:
    """Holds Ctrl-C and SIGTERM back for as long as the context lasts, so that a loop can save and leave.

    A second signal is not held back.
    """
    arrived, before = StopSignal(), {}

    def note(number: int, _: Any) -> None:
        arrived.number = number
        for held, usual in before.items():
            signal.signal(held, usual)

    try:
        for held in (signal.SIGINT, signal.SIGTERM):
            before[held] = signal.signal(held, note)
    except ValueError:  # not the main thread: signals are somebody else's
        yield arrived
        return
    try:
        yield arrived
    finally:
        for held, usual in before.items():
            signal.signal(held, usual)
