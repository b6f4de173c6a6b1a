"""One command for all of it: ``python -m scripts.studies.organism train | study | docs | moved ...``."""

from __future__ import annotations

import sys
from importlib import import_module

COMMANDS = {
    "train": "train an organism from scratch",
    "study": "measure organisms, fine-tune them in many ways, report",
    "docs": "put a study's tables and charts into docs/records/organism.md",
    "moved": "tell which side SOO moved, layer by layer",
}


def main(arguments: list[str]) -> int:
    """Runs the command that is named first; returns the exit code."""
    if not arguments or arguments[0] not in COMMANDS:
        lines = [f"  {name:6} {told}" for name, told in COMMANDS.items()]
        print("\n".join(["python -m scripts.studies.organism COMMAND ...", *lines]), file=sys.stderr)
        return 0 if arguments[:1] == ["--help"] else 2
    return import_module(f"scripts.studies.organism.{arguments[0]}_command").main(arguments[1:])


if __name__ == "__main__":
    raise SystemExit(main(sys.argv[1:]))
