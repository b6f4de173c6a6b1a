"""Orbax: save, resume, verify. A half-written or damaged checkpoint is never used."""

from __future__ import annotations

import errno
import hashlib
import json
import logging
import os
import shutil
import signal
import sys
import time
import warnings
from collections.abc import Callable, Iterator
from concurrent.futures import Future, ThreadPoolExecutor
from contextlib import contextmanager
from functools import partial
from pathlib import Path
from typing import Any, TypeVar

import jax
import orbax.checkpoint as ocp

from soo_jax.distributed import any_of, from_first, is_first
from soo_jax.errors import SooError, SooWarning, StorageError
from soo_jax.files import disk_error, is_disk_error, part_name, read_json, write_atomically

State = TypeVar("State")
KEPT = 2
"""So many checkpoints of a run are kept: the newest, and one to go back to."""
_SUMS = "checksums.json"
_OVERHEAD = 1 << 20  # bytes that a checkpoint takes beside its arrays, generously


class Checkpoints:
    """The checkpoints of one run, folders named by their step; the newest two are kept.

    Each holds ``checksums.json``: the sha256 of all its files, and what it belongs to. Both are written before the
    folder gets its name, so that whatever has a name was once whole, and a checksum that differs tells damage.

    The training does not wait for the disk: ``save`` returns once the state is copied out of the devices, and a thread
    writes, sums and names it. One save is under way at a time, and an error of it is raised by the next call.

    Args:
      folder: where they lie.
      identity: what must be the same for a checkpoint to be resumed (settings, data, base weights), as plain JSON
        values, so that every process says the same; ``overlap.content`` makes such of terms and configs.
      every: steps between two checkpoints; 0 saves only when asked.
    """

    def __init__(self, folder: str | Path, identity: dict[str, Any], every: int = 0):
        self.folder = Path(folder).resolve()
        self.every = every
        self._identity = plain_identity(identity)
        _quiet()
        self._orbax = ocp.AsyncCheckpointer(ocp.StandardCheckpointHandler())
        self._writer = ThreadPoolExecutor(1, "checkpoint")
        self._under_way: Future[None] | None = None
        try:
            self.folder.mkdir(parents=True, exist_ok=True)
        except OSError as error:
            raise disk_error(self.folder, error) from error

    def due(self, step: int, last: int) -> bool:
        """Whether a multiple of ``every`` lies in ``(last, step]``."""
        return bool(self.every) and step // self.every > last // self.every

    def save(self, step: int, state: Any) -> None:
        """Begins to write the state; it survives a kill once ``wait`` has returned.

        The state may be changed or donated as soon as this returns.

        Raises:
          StorageError: the disk refuses this save, or has refused the one before.
        """
        self.wait()
        needed = sum(leaf.nbytes for leaf in jax.tree.leaves(state)) + _OVERHEAD
        # Orbax, out of space in the middle of a write, fills the screen from threads that nobody can catch.
        if shutil.disk_usage(self.folder).free < needed:
            raise disk_error(self.folder, OSError(errno.ENOSPC, os.strerror(errno.ENOSPC)))
        part = self.folder / part_name(str(step))
        with self._refused():
            self._clear_parts()
            self._orbax.save(part, args=ocp.args.StandardSave(state))
            self._under_way = self._writer.submit(self._finish, part, step)

    def wait(self) -> None:
        """Returns once the last state that was given to ``save`` lies on the disk under its name.

        Raises:
          StorageError: the disk has refused it.
        """
        under_way, self._under_way = self._under_way, None
        if under_way is not None:
            with self._refused():
                under_way.result()

    def clear(self) -> None:
        """Forgets the states of an earlier run, so that none of them can be taken for one of this run."""
        self.wait()
        self._clear_parts()
        if is_first():
            for step in steps(self.folder):
                shutil.rmtree(self.folder / str(step))

    def restore(self, like: State) -> State | None:
        """The newest whole state, with the shapes and shardings of ``like``; None if none was saved.

        Where the newest is damaged, a warning says so, and the one before is taken. The first process reads the files
        for their checksums, and right after that all read them out of the system's cache.

        Raises:
          StorageError: none of those that were saved is whole. SooError: they belong to other settings, or to a version
            that keeps other arrays.
        """
        self.wait()
        step = from_first(self._newest_whole)
        if step is None:
            return None
        abstract = jax.tree.map(ocp.utils.to_shape_dtype_struct, like)
        try:
            return self._orbax.restore(self.folder / str(step), args=ocp.args.StandardRestore(abstract))
        except ValueError as error:  # its files are whole, but hold other arrays
            raise SooError(
                f"{self.folder}: checkpoint {step} was made by another version, which keeps other arrays; go on with "
                "that version, or begin anew (--force in place of --resume)"
            ) from error

    def close(self) -> None:
        """Waits for a save that is under way, and releases what Orbax holds."""
        try:
            self.wait()
        finally:
            self._writer.shutdown()
            self._orbax.close()

    def _finish(self, part: Path, step: int) -> None:
        """What follows the writing: the first process sums the files, and gives the checkpoint its name."""
        self._orbax.wait_until_finished()
        if is_first():
            told = {"identity": self._identity, "files": _sums(part)}
            write_atomically(part / _SUMS, json.dumps({**told, "check": digest(told)}) + "\n")
            self._keep(part, step)

    @contextmanager
    def _refused(self) -> Iterator[None]:
        """Leaves nothing half-written where a save fails, and says in one line what the disk has against it."""
        try:
            yield
        except BaseException as error:
            self._clear_parts()
            # Orbax and TensorStore wrap what the operating system says in exceptions of their own.
            if isinstance(error, Exception) and not isinstance(error, SooError) and is_disk_error(error):
                raise disk_error(self.folder, error) from error
            raise

    def _newest_whole(self) -> int | None:
        damaged: list[str] = []
        for step in reversed(steps(self.folder)):
            fault = _fault(self.folder / str(step))
            if fault is None:
                check_identity(self.folder, self._identity, step)
                if damaged:
                    passed = f"{self.folder}: damaged: {'; '.join(damaged)}"
                    warnings.warn(
                        f"{passed}; going on from the one before, checkpoint {step}", SooWarning, stacklevel=3
                    )
                return step
            damaged.append(f"checkpoint {step} ({fault})")
        if damaged:
            raise StorageError(
                f"{self.folder}: nothing to go on from, damaged: {'; '.join(damaged)}; put a copy in its place, or "
                "start anew (--force in place of --resume)"
            )
        return None

    def _keep(self, part: Path, step: int) -> None:
        """Gives a checkpoint its name, and drops those before the last; one of a later step was found damaged."""
        place = self.folder / str(step)
        if place.exists():
            shutil.rmtree(place)
        os.replace(part, place)
        found = steps(self.folder)
        for other in {*found} - {*[one for one in found if one <= step][-KEPT:]}:
            shutil.rmtree(self.folder / str(other))

    def _clear_parts(self) -> None:
        """Removes what a save that did not come to its end has left."""
        if is_first():
            for path in self.folder.glob(f"{part_name('*')}*"):
                _remove(path)


def _remove(folder: Path, pause: float = 0.05, most: int = 40) -> None:
    """Removes a folder that threads of a save that failed may still be writing into: until it stays away.

    What is still there at the end has no name of a checkpoint, so that nothing takes it for one, and the next save
    removes it.
    """
    for _ in range(most):
        shutil.rmtree(folder, ignore_errors=True)
        time.sleep(pause)
        if not folder.exists():
            return


def _quiet() -> None:
    """Keeps off the screen what is raised anyway: Orbax reports every save and every error, and TensorStore, where the
    disk has refused, calls back into an event loop that is gone."""
    logging.getLogger("absl").setLevel(logging.CRITICAL)
    usual = sys.unraisablehook
    if getattr(usual, "func", None) is not _pass_over:
        sys.unraisablehook = partial(_pass_over, usual)


def _pass_over(usual: Callable[[Any], Any], unraisable: Any) -> None:
    if str(unraisable.exc_value) != "Event loop is closed":
        usual(unraisable)


def steps(folder: Path) -> list[int]:
    """Steps whose checkpoints lie in a folder, in order."""
    return sorted(int(path.name) for path in folder.glob("*") if path.name.isdigit() and path.is_dir())


def check_identity(folder: str | Path, identity: dict[str, Any], step: int | None = None) -> None:
    """Compares what a folder's checkpoints were made with; a folder without checkpoints has nothing to object.

    Args:
      step: which of them; by default the newest that says what it was made with.

    Raises:
      SooError: the checkpoints belong to other settings.
    """
    for one in reversed(steps(Path(folder))) if step is None else [step]:
        told = _told(Path(folder) / str(one))
        if told is not None:
            check_same(f"{folder}: this checkpoint", told["identity"], identity)
            return


def plain_identity(identity: dict[str, Any]) -> dict[str, Any]:
    """An identity as JSON gives it back.

    Raises:
      ValueError: it holds something else than plain JSON values.
    """
    try:
        return json.loads(json.dumps(identity, sort_keys=True))
    except TypeError as error:
        raise ValueError(
            f"identity: {error}; give plain JSON values, which overlap.content makes of anything"
        ) from error


def check_same(what: str, found: dict[str, Any], asked: dict[str, Any]) -> None:
    """Raises SooError where something was made with other settings than are asked for, naming them."""
    asked = plain_identity(asked)
    if found != asked:
        differing = sorted(key for key in asked | found if asked.get(key) != found.get(key))
        raise SooError(
            f"{what} was made with other settings ({', '.join(differing)}); "
            "resume with the same ones, or choose another folder"
        )


def _told(step: Path) -> dict[str, Any] | None:
    """What ``checksums.json`` says; None if it is not there, or is not what was written."""
    try:
        told = read_json(step / _SUMS)
    except (SooError, OSError):
        return None
    return told if told.pop("check", None) == digest(told) else None


def _fault(step: Path) -> str | None:
    """What is wrong with a checkpoint; None if it is whole."""
    told = _told(step)
    if told is None:
        return f"{_SUMS} is missing or damaged"
    for name, wanted in told["files"].items():
        try:
            if _sha256(step / name) != wanted:
                return f"{name} is not what was written"
        except OSError as error:
            return f"{name}: {error.strerror or error}"
    return None


def _sums(step: Path) -> dict[str, str]:
    return {str(p.relative_to(step)): _sha256(p) for p in sorted(step.rglob("*")) if p.is_file()}


def _sha256(path: Path) -> str:
    with open(path, "rb") as file:
        return hashlib.file_digest(file, "sha256").hexdigest()


def digest(*parts: Any) -> str:
    """A short hash of JSON values or arrays, for an identity."""
    sha = hashlib.sha256()
    for part in parts:
        sha.update(part.tobytes() if hasattr(part, "tobytes") else json.dumps(part, sort_keys=True).encode())
    return sha.hexdigest()[:16]


class Stopped(SystemExit):
    """Ctrl-C or SIGTERM arrived, and the state was saved. Its code is the shell's for that signal: 130 or 143.

    Attributes:
      folder: where the state lies; None where nobody wanted it saved. what: lies there.
    """

    def __init__(self, number: int, folder: Path | None = None, what: str = "the state of the training is") -> None:
        super().__init__(128 + number)
        self.folder, self.what = folder, what


@contextmanager
def stopped_by_ctrl_c(folder: Path | None) -> Iterator[None]:
    """For work whose finished parts are kept in a folder as they come: Ctrl-C ends it at once, and says where they are.

    Without a folder it is as Python does.
    """
    try:
        yield
    except KeyboardInterrupt as pressed:
        if folder is None:
            raise
        raise Stopped(signal.SIGINT, folder, "the answers so far are") from pressed


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


def save_or_leave(kept: Checkpoints | None, stop: StopSignal, step: int, before: int, state: Any) -> None:
    """What a training does between two steps: saves where that is due, and leaves on a signal with its state saved.

    Args:
      before: the step at which this was asked last.

    Raises:
      Stopped: a signal arrived. StorageError: the disk refuses.
    """
    if kept is not None and (kept.due(step, before) or stop):
        kept.save(step, state)
        if stop:
            kept.wait()
    stop.raise_if_set(kept and kept.folder)


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
