"""The report: one self-contained HTML page about one run or several, and its charts as PNG beside the results."""

from __future__ import annotations

from collections.abc import Sequence
from pathlib import Path

from soo_jax.errors import SooError
from soo_jax.files import write_atomically
from soo_jax.runs import Run, RunFolder, read_run


def write_report(run_dirs: Sequence[Path], out: Path | None = None) -> Path:
    """Draw the charts into every run folder and write the page.

    Args:
      run_dirs: one run, or several to be compared.
      out: where the page goes. By default ``report.html`` in the folder of a single run, ``comparison.html`` beside the
        first of several.

    Returns:
      The path of the page.

    Raises:
      SooError: no run is given, one cannot be read, or the page cannot be written.
    """
    if not run_dirs:
        raise SooError("report: no run folder is given; name at least one")
    runs = [read_run(path) for path in run_dirs]
    if _of_agents(runs):
        from soo_jax.report.rl.page import agents_page

        charts, page = agents_page(runs)
    else:
        from soo_jax.report.llm.page import models_page

        charts, page = models_page(runs)
    for run, drawn in zip(runs, charts, strict=True):
        folder = RunFolder.annotate(run.path)
        for one in drawn:
            folder.write_bytes(f"{one.name}.png", one.light)
    if out is not None:
        write_atomically(out, page)
        return Path(out)
    if len(runs) == 1:
        return RunFolder.annotate(runs[0].path).write_text("report.html", page)
    out = runs[0].path.resolve().parent / "comparison.html"
    write_atomically(out, page)
    return out


def _of_agents(runs: Sequence[Run]) -> bool:
    """Whether the runs are about RL agents rather than language models."""
    agents = [run.about_agents for run in runs]
    if any(agents) and not all(agents):
        one, other = runs[agents.index(True)].path, runs[agents.index(False)].path
        raise SooError(f"report: {one} is about RL agents and {other} about a language model; compare runs of one kind")
    return all(agents)
