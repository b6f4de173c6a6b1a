"""The program ``soo``: parses, calls, prints. Heavy imports happen inside the commands."""

from __future__ import annotations

import os
import re
import sys
import warnings
from collections.abc import Iterator
from contextlib import contextmanager
from typing import Any

GONE = 75
"""Exit code of a process that stops because another one of its run is gone: the run can be tried again."""


def main(arguments: list[str] | None = None) -> None:
    """Runs the program and exits: 0 done, 2 bad input (one line on stderr), 130 Ctrl-C, 143 SIGTERM."""
    sys.exit(run(sys.argv[1:] if arguments is None else arguments))


def run(arguments: list[str]) -> int:
    """Runs the program; returns the exit code."""
    try:
        with _warnings_in_one_line():
            return _run(arguments)
    except KeyboardInterrupt:
        _say("interrupted; what was written so far is kept and marked incomplete")
        return 130
    except SystemExit as leave:
        word = {130: "interrupted", 143: "terminated"}.get(leave.code)
        if word is None:
            raise
        folder = getattr(leave, "folder", None)
        saved = f"{getattr(leave, 'what', '')} saved in {folder}; the same command with --resume goes on from there"
        _say(f"{word}; {saved if folder else 'what was written so far is kept and marked incomplete'}")
        return leave.code


def _run(arguments: list[str]) -> int:
    import typer

    from soo_jax.cli.app import app
    from soo_jax.errors import SooError

    debug = "--debug" in arguments
    together = next((one for one in arguments if one.partition("=")[0] == "--distributed"), None)
    arguments = [one for one in arguments if one not in ("--debug", together)] or ["--help"]
    try:
        _join(together, meshed=any(one.partition("=")[0] == "--mesh" for one in arguments))
        code = app(args=arguments, standalone_mode=False, prog_name="soo") or 0
        if code == 130:  # Typer has swallowed the interrupt and told nobody
            raise KeyboardInterrupt
        return code
    except typer.Exit as leave:
        return leave.exit_code
    except typer.Abort as abort:
        raise KeyboardInterrupt from abort
    except SooError as error:
        return _fail(error, str(error), debug)
    except BrokenPipeError:
        # The reader of our output went away; let nothing try to flush into the void.
        os.dup2(os.open(os.devnull, os.O_WRONLY), sys.stdout.fileno())
        return 0
    except OSError as error:
        if error.filename is None:
            raise
        from pathlib import Path

        from soo_jax.files import disk_error

        return _fail(error, str(disk_error(Path(error.filename), error)), debug)
    except Exception as error:
        if type(error).__name__ == "JaxRuntimeError" and not debug:
            _leave_if_others_are_gone(error)
            if (wanted := _memory_that_lacks(error)) is not None:
                return _fail(error, f"out of memory{wanted}: take fewer seeds, rows or agents at once", debug)
        # Typer's usage errors have no public base class, but this method.
        if not hasattr(error, "format_message"):
            raise
        return _fail(error, f"{error.format_message().rstrip('.')}; see soo --help", debug)


def _join(asked: str | None, meshed: bool) -> None:
    """Joins the other processes of a distributed run where ``--distributed`` or a cluster says that it is one.

    Args:
      meshed: whether a mesh is asked for. Without one a cluster is not heeded: a report that is drawn on one host of a
        slice must not wait for the others.

    Raises:
      SooError: the others cannot be found.
    """
    if asked is None and not (meshed and ("SLURM_PROCID" in os.environ or "TPU_WORKER_HOSTNAMES" in os.environ)):
        return
    from soo_jax.cli import common

    common.start()
    from soo_jax import distributed

    if asked is None and not distributed.expected():
        return
    distributed.begin((asked or "").partition("=")[2] or distributed.AUTO)
    common.writes = distributed.is_first()
    # The first process speaks. What the runtime prints from below about its connections goes to stderr.
    speaks = os.dup(1) if common.writes else os.open(os.devnull, os.O_WRONLY)
    sys.stdout.flush()
    os.dup2(2, 1)
    sys.stdout = os.fdopen(speaks, "w", buffering=1)


def _leave_if_others_are_gone(error: BaseException) -> None:
    """In a distributed run: says so in one line and ends this process at once, without waiting for the others."""
    from soo_jax import distributed

    reason = distributed.lost(error)
    if reason is None:
        return
    _say(
        f"error: {reason}; what was saved is kept, and the same command with --resume goes on, with any number of them"
    )
    for stream in (sys.stdout, sys.stderr):
        stream.flush()
    os._exit(GONE)


def _memory_that_lacks(error: BaseException) -> str | None:
    """Of an error of a device that has no memory left: how much it was asked for, as far as it says."""
    if not str(error).startswith("RESOURCE_EXHAUSTED"):
        return None
    found = re.search(r"allocat\w* (\d+) bytes", str(error))
    return f" ({int(found[1]) / 2**30:.1f} GiB were asked for)" if found else ""


@contextmanager
def _warnings_in_one_line() -> Iterator[None]:
    """Prints what the library warns of as one line each, and each of them once; leaves other warnings alone."""
    from soo_jax.errors import SooWarning

    with warnings.catch_warnings():
        usual, said = warnings.showwarning, set()

        def show(message: Warning | str, category: type[Warning], *rest: Any, **more: Any) -> None:
            if not issubclass(category, SooWarning):
                usual(message, category, *rest, **more)
            elif str(message) not in said:
                said.add(str(message))
                _say("warning: " + " ".join(str(message).split()))

        warnings.simplefilter("always", SooWarning)
        warnings.showwarning = show
        yield


def _fail(error: BaseException, message: str, debug: bool) -> int:
    if debug:
        raise error
    _say("error: " + " ".join(message.split()))
    return 2


def _say(line: str) -> None:
    print(f"soo: {line}", file=sys.stderr)
