"""Cells: the parts of a study, one JSON file each, so that a study that was cut off goes on where it stopped."""

from __future__ import annotations

import json
import time
from collections.abc import Callable
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from soo_jax.checkpoints import digest
from soo_jax.errors import SooError
from soo_jax.files import read_json, write_atomically

SCHEMA = "soo-study-cell/1"

Compute = Callable[[], dict[str, Any]]
"""Computes what a cell holds, as plain values for JSON."""


@dataclass(frozen=True)
class Cells:
    """The cells of one organism.

    Attributes:
      folder: where the files lie.
      base: digest of the organism's weights; a cell of other weights is computed anew.
      say: called with one line per cell.
    """

    folder: Path
    base: str
    say: Callable[[str], None] = lambda line: None

    def get(self, name: str, settings: dict[str, Any], compute: Compute) -> dict[str, Any]:
        """The cell of that name, from its file if it was computed with the same settings, else computed and written.

        Raises:
          SooError: the file is no cell, or the disk refuses.
        """
        path = self.folder / f"{name}.json"
        identity = digest(self.base, settings)
        if path.exists():
            cell = read_json(path)
            if cell.get("schema") != SCHEMA:
                raise SooError(f"{path}: is no cell of a study ({SCHEMA}); choose another --out")
            if cell["identity"] == identity:
                return cell["found"]
        started = time.perf_counter()
        found = json.loads(json.dumps(compute()))
        seconds = round(time.perf_counter() - started, 1)
        cell = {"schema": SCHEMA, "identity": identity, "settings": settings, "seconds": seconds, "found": found}
        self.folder.mkdir(parents=True, exist_ok=True)
        write_atomically(path, json.dumps(cell, indent=1) + "\n")
        self.say(f"{self.folder.name} {name} {seconds:.0f} s")
        return found

    def seconds(self) -> float:
        """What all cells of this organism took to compute."""
        return sum(read_json(path)["seconds"] for path in self.folder.glob("*.json"))
