"""Progress bars on stderr for whatever takes longer than a moment."""

from __future__ import annotations

from collections.abc import Mapping
from types import TracebackType

from rich import progress
from rich.console import Console

from soo_jax.progress import Progress, Reporter

_SHOWN = ("loss", "overlap", "drift", "soo_loss")


class Bars(Reporter):
    """One bar per piece of work; training bars show losses, drift and rewards. A context manager."""

    def __init__(self, quiet: bool):
        console = Console(stderr=True, quiet=quiet)
        self._progress = progress.Progress(
            progress.TextColumn("{task.description:<19}"),
            progress.BarColumn(bar_width=12),
            progress.MofNCompleteColumn(),
            progress.TimeRemainingColumn(elapsed_when_finished=True),
            progress.TextColumn("{task.fields[metrics]}"),
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

    def task(self, name: str) -> Progress:
        self._progress.start()  # only now: without a bar nothing is drawn, not even an empty line
        bar = self._progress.add_task(name, total=None, metrics="")

        def show(done: int, total: int, metrics: Mapping[str, float] | None = None) -> None:
            told = {key: value for key, value in (metrics or {}).items() if key in _SHOWN or key.startswith("reward_")}
            text = "  ".join(f"{key} {value:.3g}" for key, value in told.items())
            self._progress.update(bar, completed=done, total=total, metrics=text)

        return show
