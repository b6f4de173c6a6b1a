"""The run folder: everything that one run was told, measured and said, enough to redo it and to draw its report.

A folder holds ``status.json``, ``config.json``, ``results.json``, ``responses.jsonl``, ``log.txt`` and whatever else
the run writes (plots, adapters, the report); the fields are documented in docs/data.md. It is marked as incomplete from
the moment it exists until the run has ended well, whatever happens in between.
"""

from __future__ import annotations

import json
import os
import shutil
import time
from collections.abc import Iterable, Iterator
from contextlib import contextmanager, suppress
from pathlib import Path
from types import TracebackType
from typing import Any

from soo_jax.errors import SooError
from soo_jax.files import append_whole, cut_torn_line, disk_error, moved_into, part_name, write_atomically
from soo_jax.provenance import provenance
from soo_jax.run_reading import (
    CONFIG,
    LOG,
    METRICS,
    REPORT,
    RESPONSES,
    RESULTS,
    RUN_SCHEMA,
    SCHEMA,
    STATES,
    STATES_FOLDER,
    STATUS,
    Run,
    read_run,
    read_status,
)
from soo_jax.tidy import TABLES, finite_row, named, one_row_per_line, plain

__all__ = ["SCHEMA", "STATES", "STATES_FOLDER", "Run", "RunFolder", "finite_row", "provenance", "read_run"]
_FORGOTTEN = part_name(STATES_FOLDER)  # unfinished work of a run that is complete, or all but


class RunFolder:
    """A run folder that is being written. Use as a context manager; leaving it decides the final state.

    Every file is written beside and renamed. Ctrl-C leaves the state ``interrupted``, any other exception ``failed``,
    and a killed process ``running``; ``read_run`` calls all three incomplete.

    Attributes:
      path: the folder.
    """

    def __init__(self, path: Path, state: str = "running", files: Iterable[str] = ()) -> None:
        self.path = path
        self._state = state
        self._files = dict.fromkeys(files)
        self._said: list[bytes] = []  # lines of responses.jsonl that this run said, and that it found there and did not
        self._there: list[bytes] = []

    @classmethod
    def create(cls, path: str | Path, force: bool = False) -> RunFolder:
        """Make the folder, or take an empty one, and mark it as running.

        Args:
          path: the folder; parents are made.
          force: replace an earlier run in this folder: the files that it wrote are deleted, all others stay.

        Raises:
          SooError: the folder holds something and ``force`` is not set, or holds files of somebody else that this run
            would overwrite, or cannot be written to.
        """
        path = Path(path)
        made = [folder for folder in (path, *path.parents) if not folder.exists()]
        try:
            path.mkdir(parents=True, exist_ok=True)
            found = sorted(entry.name for entry in path.iterdir())
        except (FileExistsError, NotADirectoryError) as error:
            raise SooError(f"{path}: is a file where a folder is needed; choose another name") from error
        except OSError as error:
            raise disk_error(path, error) from error
        if found and not force:
            raise SooError(
                f"{path}: the folder is not empty ({_some(found)}); "
                "choose another one, or replace an earlier run with --force"
            )
        if found:
            _clear(path, found)
        run = cls(path)
        try:
            run._mark("running")
        except SooError:
            for folder in made:  # nothing has begun: leave no empty folders behind
                with suppress(OSError):
                    folder.rmdir()
            raise
        return run

    @classmethod
    def reopen(cls, path: str | Path) -> RunFolder:
        """Go on in the folder of an incomplete run, keeping what it wrote.

        Raises:
          SooError: the folder holds no run, or one that is complete.
        """
        path = Path(path)
        status = read_status(path)
        if status["state"] == "complete":
            raise SooError(
                f"{path}: this run is complete, there is nothing to resume; choose another folder or --force"
            )
        run = cls(path, "running", status.get("files", ()))
        if (path / _FORGOTTEN).is_dir():  # killed while it was about to be marked as complete
            os.rename(path / _FORGOTTEN, path / STATES_FOLDER)
        run._there = cut_torn_line(path / RESPONSES)
        run._mark("running")
        return run

    @classmethod
    def annotate(cls, path: str | Path) -> RunFolder:
        """Add files (a report, plots) to a folder whose run is over, leaving its state as it is; no context manager.

        Raises:
          SooError: the folder holds no run.
        """
        status = read_status(Path(path))
        if status["state"] == "complete":  # killed while it tidied up
            shutil.rmtree(Path(path) / _FORGOTTEN, ignore_errors=True)
        return cls(Path(path), status["state"], status.get("files", ()))

    def __enter__(self) -> RunFolder:
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        if kind is None:
            missing = [name for name in (CONFIG, RESULTS) if name not in self._files]
            if missing:
                self._mark("failed")
                raise ValueError(f"{self.path}: the run ended without writing {_some(missing)}")
            self._complete()
            return
        interrupted = issubclass(kind, KeyboardInterrupt | SystemExit)
        # Where the disk is full the mark cannot be written either; "running" stands, which is incomplete just as well.
        with suppress(SooError):
            self.log(f"{kind.__name__}: {error}" if str(error) else kind.__name__)
        with suppress(SooError):
            self._mark("interrupted" if interrupted else "failed")

    def _complete(self) -> None:
        """Marks the run as complete and forgets unfinished work, so that a kill leaves either both or neither."""
        with suppress(OSError):  # most often there is none; a disk that refuses will also refuse the mark
            os.rename(self.path / STATES_FOLDER, self.path / _FORGOTTEN)
        self._mark("complete")
        shutil.rmtree(self.path / _FORGOTTEN, ignore_errors=True)

    def write_config(self, config: dict[str, Any]) -> None:
        """Write all that was set as ``config.json``; it may be nested, and callables become their names."""
        self.write_text(CONFIG, json.dumps(config, indent=2, ensure_ascii=False, default=named) + "\n")

    def write_results(self, results: dict[str, Any]) -> None:
        """Check the numbers and write them as ``results.json``.

        Args:
          results: ``job`` (str), ``rows``, ``latent``, ``training``, ``layers``, ``drift`` (lists of flat dicts, empty
            by default) and ``timings`` (one flat dict); ``schema`` is added. Array scalars become numbers.

        Raises:
          ValueError: a row is not flat, or a number is not finite (write None, or use ``finite_row``).
          SooError: the disk refuses.
        """
        checked: dict[str, Any] = {"schema": SCHEMA, "job": results["job"]}
        for table in TABLES:
            checked[table] = [
                {name: plain(value, f"{table}[{i}].{name}") for name, value in row.items()}
                for i, row in enumerate(results.get(table, ()))
            ]
        checked["timings"] = {n: plain(v, f"timings.{n}") for n, v in results.get("timings", {}).items()}
        unknown = set(results) - {"schema", "job", "timings", *TABLES}
        if unknown:
            raise ValueError(f"results hold unknown tables {sorted(unknown)}; known are {[*TABLES, 'timings']}")
        self.write_text(RESULTS, one_row_per_line(checked))

    def append_responses(self, rows: Iterable[dict[str, Any]]) -> None:
        """Add generations with their labels to ``responses.jsonl``; all rows of a call get in, or none.

        A run that goes on says again what it said before: rows that are there already are not written twice, and from
        the first that is another one on, what is there gives way.
        """
        lines = [json.dumps({n: plain(v, n) for n, v in row.items()}, ensure_ascii=False) + "\n" for row in rows]
        said = [line.encode() for line in lines]
        there, self._there = self._there[: len(said)], self._there[len(said) :]
        if there != said[: len(there)]:
            write_atomically(self.path / RESPONSES, b"".join(self._said))
            there, self._there = [], []
        self._said += said
        self._append(RESPONSES, "".join(lines[len(there) :]))

    def log(self, line: str) -> None:
        """Add a line to ``log.txt``, with the time in front (UTC)."""
        stamp = time.strftime("%Y-%m-%d %H:%M:%S", time.gmtime())
        self._append(LOG, f"{stamp} {line}\n")

    def write_text(self, name: str, text: str) -> Path:
        """Write a UTF-8 file of this run; ``name`` is relative to the folder. Returns its path."""
        return self.write_bytes(name, text.encode("utf-8"))

    def write_bytes(self, name: str, content: bytes) -> Path:
        """Write a file of this run; ``name`` is relative to the folder. Returns its path."""
        self.claim(name)
        write_atomically(self.path / name, content)
        return self.path / name

    @contextmanager
    def folder(self, name: str) -> Iterator[Path]:
        """A folder that something else is to fill; what it wrote lies under ``name`` afterwards, as this run's own."""
        claimed = lambda files: self.claim(*(f"{name}/{file}" for file in files))
        with moved_into(self.path / name, claimed) as part:
            yield part

    def claim(self, *names: str) -> None:
        """Count files that are about to be written here as this run's own, so that no kill leaves them to nobody.

        A later run with ``force`` deletes claimed files and leaves the rest alone.
        """
        if not {*names} <= {*self._files}:
            self._files.update(dict.fromkeys(names))
            self._mark(self._state)

    def _append(self, name: str, text: str) -> None:
        self.claim(name)
        append_whole(self.path / name, text)

    def _mark(self, state: str) -> None:
        self._state = state
        status = {"schema": RUN_SCHEMA, "state": state, "files": sorted(self._files)}
        write_atomically(self.path / STATUS, json.dumps(status, indent=2) + "\n")


# ---- replacing an earlier run -------------------------------------------------------------------------------------


def _clear(path: Path, found: list[str]) -> None:
    """Delete what an earlier run wrote into ``path``; refuse where this run would overwrite somebody else's files."""
    if STATUS not in found:
        taken = sorted({CONFIG, RESULTS, RESPONSES, LOG, REPORT, METRICS, STATES_FOLDER} & set(found))
        if taken:
            raise SooError(f"{path}: holds {_some(taken)} but no run of soo-jax; choose another folder, --force or not")
        return
    files = [name for name in read_status(path).get("files", []) if _inside(path, name)]
    try:
        for rest in (STATES_FOLDER, _FORGOTTEN):
            shutil.rmtree(path / rest, ignore_errors=True)
        # The mark goes last: until then the folder is known as a run, and a second attempt finds what is left.
        for name in [*files, *(part_name(name) for name in files), STATUS]:
            with suppress(FileNotFoundError):
                (path / name).unlink()
        for folder in sorted({parent for name in files for parent in (path / name).parents}, reverse=True):
            if path in folder.parents:
                with suppress(OSError):  # not empty: somebody else's files are in there
                    folder.rmdir()
    except OSError as error:
        raise disk_error(path, error) from error


def _inside(path: Path, name: object) -> bool:
    """Whether ``name`` from a status file is a plain path below the folder: a forged one must not delete elsewhere."""
    return (
        isinstance(name, str)
        and (path / name).resolve().is_relative_to(path.resolve())
        and ".." not in Path(name).parts
    )


def _some(names: list[str]) -> str:
    return ", ".join(names[:3]) + (f" and {len(names) - 3} more" if len(names) > 3 else "")
