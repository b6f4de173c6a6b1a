"""What ``soo compare`` is given: run folders, each alone or with one of its conditions."""

from __future__ import annotations

from collections.abc import Sequence
from pathlib import Path

from soo_jax.errors import SooError
from soo_jax.run_reading import read_run


def split_side(name: str) -> tuple[str, str]:
    """Folder and condition of ``FOLDER:CONDITION``, both of which may hold colons; the condition may be left out."""
    if not Path(name).is_dir():
        for i in reversed([i for i, letter in enumerate(name) if letter == ":"]):
            if Path(name[:i]).is_dir():
                return name[:i], name[i + 1 :]
    return name, ""


def about_agents(names: Sequence[str]) -> bool:
    """Whether the runs are of agents in games.

    Raises:
      SooError: some are and some are not, or one cannot be read.
    """
    kinds = {name: read_run(split_side(name)[0]).about_agents for name in names}
    if len(set(kinds.values())) > 1:
        one, other = (next(name for name, kind in kinds.items() if kind is which) for which in (True, False))
        raise SooError(f"compare: {one} is about agents and {other} is not; compare runs of one kind")
    return any(kinds.values())
