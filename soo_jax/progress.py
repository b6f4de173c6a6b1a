"""How jobs say how far they are, and how long their parts took."""

from __future__ import annotations

import time
from collections.abc import Callable, Iterator
from contextlib import contextmanager

Progress = Callable[..., None]
"""Called with units done, units in all and, in training, the latest metrics by name."""


class Reporter:
    """Where a job says how far it is. This one says nothing; the command line draws bars."""

    def task(self, name: str) -> Progress:
        """Starts a named piece of work; the result is called as it goes on."""
        return lambda done, total, metrics=None: None

    def say(self, line: str) -> None:
        """Tells something that should be known before the work is done."""


class Clock:
    """Seconds spent in named parts of a job."""

    def __init__(self) -> None:
        self.seconds: dict[str, float] = {}

    @contextmanager
    def __call__(self, name: str) -> Iterator[None]:
        start = time.perf_counter()
        try:
            yield
        finally:
            self.seconds[f"{name}_s"] = self.seconds.get(f"{name}_s", 0.0) + time.perf_counter() - start
