"""Runs of ``soo rl`` that a study is made of: a table of folders and commands, made in its order."""

from __future__ import annotations

import shlex
from collections.abc import Mapping
from pathlib import Path

from soo_jax.runs import read_run


def run_all(runs: Path, table: Mapping[str, str]) -> int:
    """Makes every run that is not complete yet; returns the first exit code that is not 0.

    Args:
      runs: folder of all run folders. table: by folder, the command; ``{runs}`` in it stands for that folder.
    """
    from soo_jax.cli import run

    for name, words in table.items():
        out = runs / name
        if (out / "status.json").is_file() and read_run(out).complete:
            continue
        begun = ["--resume"] if out.is_dir() and "evaluate" not in words else ["--force"]
        told = shlex.split(words.format(runs=runs))
        print("soo rl", *told, "--out", out, flush=True)
        if code := run(["rl", *told, "--out", str(out), "--quiet", *begun]):
            return code
    return 0


def command(table: Mapping[str, str], name: str) -> str:
    """What a user types for a run, from a folder whose runs are in ``runs``."""
    return f"soo rl {table[name].format(runs='runs')} --out runs/{name}"
