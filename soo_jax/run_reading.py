"""A run folder as it is read: what its files are called, and what is in them."""

from __future__ import annotations

import json
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

from soo_jax.earlier import of_this_version
from soo_jax.errors import SooError
from soo_jax.tidy import TABLES

SCHEMA = "soo-results/2"
_EARLIER = "soo-results/1"  # called families "scenario", and orders after the worth of things
RUN_SCHEMA = "soo-run/1"
STATES = ("running", "complete", "interrupted", "failed")

STATUS, CONFIG, RESULTS, LOG = "status.json", "config.json", "results.json", "log.txt"
RESPONSES, REPORT, METRICS = "responses.jsonl", "report.html", "metrics.csv"
"""What each file is, is told in docs/data.md."""
STATES_FOLDER = "checkpoints"
"""Where unfinished work lies; gone once the run is complete."""


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
    def about_agents(self) -> bool:
        """Whether it is about agents in games rather than language models; an earlier version's by its job's name."""
        if "about" in self.config:
            return self.config["about"] == "agents"
        return str(self.config.get("job", self.results.get("job", ""))).startswith("rl-")

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
    state = read_status(path)["state"]
    complete = state == "complete"
    results = _read_json(path / RESULTS, required=complete)
    if results and results.get("schema") not in (SCHEMA, _EARLIER):
        raise SooError(
            f"{path / RESULTS}: has the schema {results.get('schema')!r}, this version reads {SCHEMA!r}; "
            "use the version of soo-jax that wrote it"
        )
    for table in TABLES:
        if not isinstance(results.get(table, []), list):
            raise SooError(f"{path / RESULTS}: {table} must be a list of rows; the run has to be made again")
    if "rows" in results:
        results["rows"] = [of_this_version(row) for row in results["rows"]]
    config = _read_json(path / CONFIG, required=complete)
    responses = [of_this_version(row) for row in _read_responses(path / RESPONSES, complete)]
    return Run(path, state, config, results, responses)


def read_status(path: Path) -> dict[str, Any]:
    """What a run says of itself: its state, and which files it wrote. Raises SooError as :func:`read_run` does."""
    if not path.is_dir():
        raise SooError(f"{path}: no such run folder; give a folder that a run of soo-jax has written")
    if not (path / STATUS).exists():
        raise SooError(f"{path}: holds no {STATUS}, so it is no run folder; give one that a run of soo-jax has written")
    status = _read_json(path / STATUS, required=True)
    if not str(status.get("schema")).startswith("soo-run/"):
        raise SooError(f"{path / STATUS}: was not written by soo-jax; give a folder that one of its runs has written")
    if status.get("state") not in STATES:
        raise SooError(f"{path / STATUS}: the state is {status.get('state')!r} rather than one of {', '.join(STATES)}")
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
