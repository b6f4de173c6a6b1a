"""The run folder: everything that one run was told, measured and said, enough to redo it and to draw its report.

A folder holds ``status.json``, ``config.json``, ``results.json``, ``responses.jsonl``, ``log.txt`` and whatever else
the run writes (plots, adapters, the report); the fields are documented in docs/data.md. It is marked as incomplete from
the moment it exists until the run has ended well, whatever happens in between.
"""

from __future__ import annotations

import json
import shutil
import time
from collections.abc import Iterable, Iterator
from contextlib import contextmanager, suppress
from dataclasses import dataclass, field
from pathlib import Path
from types import TracebackType
from typing import Any

from soo_jax.earlier import of_this_version
from soo_jax.errors import SooError
from soo_jax.files import append_whole, cut_torn_line, disk_error, moved_into, part_name, write_atomically
from soo_jax.provenance import provenance
from soo_jax.tidy import TABLES, finite_row, named, one_row_per_line, plain

__all__ = ["SCHEMA", "STATES", "Run", "RunFolder", "finite_row", "provenance", "read_run"]

SCHEMA = "soo-results/2"
_EARLIER = "soo-results/1"  # called families "scenario", and orders after the worth of things
_RUN_SCHEMA = "soo-run/1"
STATES = ("running", "complete", "interrupted", "failed")

STATES_FOLDER = "checkpoints"
"""Where in a run folder unfinished work lies; gone once the run is complete."""
_STATUS, _CONFIG, _RESULTS, _LOG = "status.json", "config.json", "results.json", "log.txt"
_RESPONSES, _REPORT = "responses.jsonl", "report.html"


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
        status = _read_status(path)
        if status["state"] == "complete":
            raise SooError(
                f"{path}: this run is complete, there is nothing to resume; choose another folder or --force"
            )
        run = cls(path, "running", status.get("files", ()))
        run._there = cut_torn_line(path / _RESPONSES)
        run._mark("running")
        return run

    @classmethod
    def annotate(cls, path: str | Path) -> RunFolder:
        """Add files (a report, plots) to a folder whose run is over, leaving its state as it is; no context manager.

        Raises:
          SooError: the folder holds no run.
        """
        status = _read_status(Path(path))
        return cls(Path(path), status["state"], status.get("files", ()))

    def __enter__(self) -> RunFolder:
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        if kind is None:
            missing = [name for name in (_CONFIG, _RESULTS) if name not in self._files]
            self._mark("failed" if missing else "complete")
            if missing:
                raise ValueError(f"{self.path}: the run ended without writing {_some(missing)}")
            return
        interrupted = issubclass(kind, KeyboardInterrupt | SystemExit)
        # Where the disk is full the mark cannot be written either; "running" stands, which is incomplete just as well.
        with suppress(SooError):
            self.log(f"{kind.__name__}: {error}" if str(error) else kind.__name__)
        with suppress(SooError):
            self._mark("interrupted" if interrupted else "failed")

    def write_config(self, config: dict[str, Any]) -> None:
        """Write all that was set as ``config.json``; it may be nested, and callables become their names."""
        self.write_text(_CONFIG, json.dumps(config, indent=2, ensure_ascii=False, default=named) + "\n")

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
        self.write_text(_RESULTS, one_row_per_line(checked))

    def append_responses(self, rows: Iterable[dict[str, Any]]) -> None:
        """Add generations with their labels to ``responses.jsonl``; all rows of a call get in, or none.

        A run that goes on says again what it said before: rows that are there already are not written twice, and from
        the first that is another one on, what is there gives way.
        """
        lines = [json.dumps({n: plain(v, n) for n, v in row.items()}, ensure_ascii=False) + "\n" for row in rows]
        said = [line.encode() for line in lines]
        there, self._there = self._there[: len(said)], self._there[len(said) :]
        if there != said[: len(there)]:
            write_atomically(self.path / _RESPONSES, b"".join(self._said))
            there, self._there = [], []
        self._said += said
        self._append(_RESPONSES, "".join(lines[len(there) :]))

    def log(self, line: str) -> None:
        """Add a line to ``log.txt``, with the time in front (UTC)."""
        stamp = time.strftime("%Y-%m-%d %H:%M:%S", time.gmtime())
        self._append(_LOG, f"{stamp} {line}\n")

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
        status = {"schema": _RUN_SCHEMA, "state": state, "files": sorted(self._files)}
        write_atomically(self.path / _STATUS, json.dumps(status, indent=2) + "\n")


@dataclass(frozen=True)
class Run:
    """A run folder that was read.

    Attributes:
      state: one of ``STATES``; ``running`` also means killed.
      config, results: the two JSON files; empty where an incomplete run has not written them yet.
      responses: the generations, as far as they were written.
    """

    path: Path
    state: str
    config: dict[str, Any] = field(default_factory=dict)
    results: dict[str, Any] = field(default_factory=dict)
    responses: list[dict[str, Any]] = field(default_factory=list)

    @property
    def complete(self) -> bool:
        """Whether the run ended well; else its figures are those of a part of it."""
        return self.state == "complete"

    @property
    def rows(self) -> list[dict[str, Any]]:
        """Deception rows (docs/data.md)."""
        return self.results.get("rows", [])

    @property
    def latent(self) -> list[dict[str, Any]]:
        """Layer-wise distances between self and other."""
        return self.results.get("latent", [])

    @property
    def layers(self) -> list[dict[str, Any]]:
        """What each layer makes of self and other."""
        return self.results.get("layers", [])

    @property
    def drift(self) -> list[dict[str, Any]]:
        """What models make of ordinary texts."""
        return self.results.get("drift", [])

    @property
    def training(self) -> list[dict[str, Any]]:
        """Loss and metrics by seed and step."""
        return self.results.get("training", [])

    def frame(self, part: str = "rows") -> Any:
        """A part of the run as a pandas table: see :func:`soo_jax.frames.frame`."""
        from soo_jax.frames import frame

        return frame(self, part)


def read_run(path: str | Path) -> Run:
    """Read a run folder, complete or not.

    Raises:
      SooError: there is no folder, it holds no run, its schema is another one, or a file is damaged.
    """
    path = Path(path)
    state = _read_status(path)["state"]
    complete = state == "complete"
    results = _read_json(path / _RESULTS, required=complete)
    if results and results.get("schema") not in (SCHEMA, _EARLIER):
        raise SooError(
            f"{path / _RESULTS}: has the schema {results.get('schema')!r}, this version reads {SCHEMA!r}; "
            "use the version of soo-jax that wrote it"
        )
    for table in TABLES:
        if not isinstance(results.get(table, []), list):
            raise SooError(f"{path / _RESULTS}: {table} must be a list of rows; the run has to be made again")
    if "rows" in results:
        results["rows"] = [of_this_version(row) for row in results["rows"]]
    config = _read_json(path / _CONFIG, required=complete)
    responses = [of_this_version(row) for row in _read_responses(path / _RESPONSES, complete)]
    return Run(path, state, config, results, responses)


# ---- replacing an earlier run -------------------------------------------------------------------------------------


def _clear(path: Path, found: list[str]) -> None:
    """Delete what an earlier run wrote into ``path``; refuse where this run would overwrite somebody else's files."""
    if _STATUS not in found:
        taken = sorted({_CONFIG, _RESULTS, _RESPONSES, _LOG, _REPORT, STATES_FOLDER} & set(found))
        if taken:
            raise SooError(f"{path}: holds {_some(taken)} but no run of soo-jax; choose another folder, --force or not")
        return
    files = [name for name in _read_status(path).get("files", []) if _inside(path, name)]
    try:
        shutil.rmtree(path / STATES_FOLDER, ignore_errors=True)
        # The mark goes last: until then the folder is known as a run, and a second attempt finds what is left.
        for name in [*files, *(part_name(name) for name in files), _STATUS]:
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


# ---- reading ------------------------------------------------------------------------------------------------------


def _read_status(path: Path) -> dict[str, Any]:
    if not path.is_dir():
        raise SooError(f"{path}: no such run folder; give a folder that a run of soo-jax has written")
    if not (path / _STATUS).exists():
        raise SooError(
            f"{path}: holds no {_STATUS}, so it is no run folder; give one that a run of soo-jax has written"
        )
    status = _read_json(path / _STATUS, required=True)
    if not str(status.get("schema")).startswith("soo-run/"):
        raise SooError(f"{path / _STATUS}: was not written by soo-jax; give a folder that one of its runs has written")
    if status.get("state") not in STATES:
        raise SooError(f"{path / _STATUS}: the state is {status.get('state')!r} rather than one of {', '.join(STATES)}")
    return status


def _read_json(path: Path, required: bool) -> dict[str, Any]:
    try:
        value = json.loads(path.read_text(encoding="utf-8"))
    except FileNotFoundError as error:
        if not required:
            return {}
        raise SooError(f"{path}: the file is missing; the run has to be made again") from error
    except (json.JSONDecodeError, UnicodeDecodeError, RecursionError) as error:
        raise SooError(f"{path}: is truncated or no JSON ({error}); the run has to be made again") from error
    except OSError as error:
        raise SooError(f"{path}: cannot be read ({error.strerror or error})") from error
    if not isinstance(value, dict):
        raise SooError(f"{path}: must be a JSON object; the run has to be made again")
    return value


def _read_responses(path: Path, complete: bool) -> list[dict[str, Any]]:
    try:
        lines = path.read_text(encoding="utf-8", errors="strict" if complete else "replace").split("\n")
    except FileNotFoundError:
        return []
    except (OSError, UnicodeDecodeError) as error:
        raise SooError(f"{path}: cannot be read ({error})") from error
    rows = []
    for number, line in enumerate(lines, start=1):
        if not line.strip():
            continue
        try:
            row = json.loads(line)
        except json.JSONDecodeError as error:
            if number == len(lines) and not complete:
                break  # killed in the middle of a line
            raise SooError(
                f"{path}, line {number}: not valid JSON ({error.msg}); the run has to be made again"
            ) from error
        if not isinstance(row, dict):
            raise SooError(f"{path}, line {number}: must be a JSON object; the run has to be made again")
        rows.append(row)
    return rows
