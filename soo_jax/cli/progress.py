"""Progress bars on stderr for whatever takes longer than a moment."""

from __future__ import annotations

from collections.abc import Mapping
from types import TracebackType

from rich.console import Console
from rich.progress import BarColumn, MofNCompleteColumn, Progress, TextColumn, TimeRemainingColumn

from soo_jax.progress import Reporter, Task

_SHOWN = ("loss", "overlap", "drift", "reward_blue", "soo_loss")


class Bars(Reporter):
    """One bar per piece of work; training bars show loss, overlap and drift. A context manager."""

    def __init__(self, quiet: bool):
        console = Console(stderr=True, quiet=quiet)
        self._progress = Progress(
            TextColumn("{task.description:<19}"),
            BarColumn(bar_width=12),
            MofNCompleteColumn(),
            TimeRemainingColumn(elapsed_when_finished=True),
            TextColumn("{task.fields[metrics]}"),
            console=console,
            disable=quiet,
        )

    def __enter__(self) -> Bars:
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        if self._progress.tasks:
            self._progress.stop()

    def say(self, line: str) -> None:
        self._progress.console.print(line, highlight=False, soft_wrap=True)

    def task(self, name: str) -> Task:
        self._progress.start()  # only now: without a bar nothing is drawn, not even an empty line
        bar = self._progress.add_task(name, total=None, metrics="")

        def show(done: int, total: int, metrics: Mapping[str, float] | None = None) -> None:
            text = "  ".join(f"{key} {metrics[key]:.3g}" for key in _SHOWN if key in metrics) if metrics else ""
            self._progress.update(bar, completed=done, total=total, metrics=text)

        return show
