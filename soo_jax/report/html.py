"""The report: one self-contained HTML page about one run or several, and its charts as PNG beside the results."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from soo_jax.errors import SooError
from soo_jax.files import write_atomically
from soo_jax.report.page import Chart, chart, provenance, render, settings, timings, trouble
from soo_jax.report.samples import Sample, pick_samples
from soo_jax.report.tables import Line, deception_rows, interval, silent, table_lines
from soo_jax.report.words import (
    VERDICTS,
    condition_title,
    families_in_sequence,
    family_title,
    in_sequence,
)
from soo_jax.runs import Run, RunFolder, read_run
from soo_jax.tasks.statistics import AFTER, VARIANT, Cell, SeedOutcome, aggregate, controls_among, seed_outcomes


@dataclass(frozen=True)
class Headline:
    """What the page says first: one scenario, both orders pooled and each order alone, by condition."""

    family: str
    pooled: dict[str, Cell]
    by_order: list[Line]


@dataclass(frozen=True)
class Section:
    """All that the page shows of one run."""

    run: Run
    model: str
    trouble: str
    headline: Headline | None
    outcomes: list[SeedOutcome]
    conditions: list[str]
    lines: list[Line]
    charts: list[Chart]
    samples: list[Sample]
    settings: list[tuple[str, str]]
    provenance: list[tuple[str, str]]
    timings: list[tuple[str, str]]


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
        from soo_jax.report.rl_html import agents_page

        charts, page = agents_page(runs)
    else:
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
    agents = [_about_agents(run) for run in runs]
    if any(agents) and not all(agents):
        one, other = runs[agents.index(True)].path, runs[agents.index(False)].path
        raise SooError(f"report: {one} is about RL agents and {other} about a language model; compare runs of one kind")
    return all(agents)


def _about_agents(run: Run) -> bool:
    """What the run's record says it is about; runs of earlier versions by the name of their job."""
    if "about" in run.config:
        return run.config["about"] == "agents"
    return str(run.config.get("job", run.results.get("job", ""))).startswith("rl-")


def models_page(runs: Sequence[Run]) -> tuple[list[list[Chart]], str]:
    """The charts of each run about a language model, and the page about all."""
    sections = [_section(run) for run in runs]
    filters = {
        "interval": interval,
        "silent": silent,
        "condition_title": condition_title,
        "settings_of": lambda condition: condition.partition(VARIANT)[2].replace("_", " "),
        "family_title": family_title,
    }
    comparison = _comparison(runs) if len(runs) > 1 else []
    page = render("page.html.jinja", filters, sections=sections, comparison=comparison, verdicts=VERDICTS)
    return [section.charts for section in sections], page


def _section(run: Run) -> Section:
    rows = deception_rows(run)
    cells = aggregate(rows)
    return Section(
        run=run,
        model=_model_name(run.config.get("model")),
        trouble=trouble(run),
        headline=_headline(rows, cells),
        outcomes=seed_outcomes(rows, run.training),
        conditions=in_sequence(cell.condition for cell in cells),
        lines=table_lines(cells),
        charts=_charts(run, cells),
        samples=pick_samples(run),
        settings=settings(run),
        provenance=provenance(run),
        timings=timings(run),
    )


def _model_name(model: Any) -> str:
    return str(model.get("name", "")) if isinstance(model, dict) else str(model or "")


def _headline(rows: Sequence[dict[str, Any]], cells: Sequence[Cell]) -> Headline | None:
    """About the burglar; where he was not asked, about the first rival, else the first scenario."""
    families, controls = families_in_sequence(cell.family for cell in cells), controls_among(cells)
    if not families:
        return None
    family = sorted(families, key=lambda name: name in controls)[0]
    own = [row for row in rows if row["family"] == family]
    pooled = aggregate(own, pool_orders=True)
    by_condition = {cell.condition: cell for cell in pooled}
    sequence = in_sequence(by_condition)
    return Headline(family, {name: by_condition[name] for name in sequence}, table_lines(aggregate(own)))


def _charts(run: Run, cells: Sequence[Cell]) -> list[Chart]:
    from soo_jax.report.plots import latent_chart, loss_chart, rates_chart

    charts = []
    if cells:
        several = " Ticks are single seeds." if any(cell.seeds > 1 for cell in cells) else ""
        note = "Lines are 95 % intervals." + several
        charts.append(chart("honest", "Honest answers", note, lambda theme: rates_chart(cells, "honest", theme)))
        charts.append(
            chart("deceptive", "Deceptive answers", note, lambda theme: rates_chart(cells, "deceptive", theme))
        )
    if run.latent:
        note = (
            "Mean squared distance over the held-out probe pairs; thin lines are single seeds. Normalised by the "
            "mean square of the activations, so that merely shrinking them gains nothing."
        )
        charts.append(chart("latent", "Distance between self and other", note, lambda t: latent_chart(run.latent, t)))
    if run.training:
        note = "A cross marks a seed whose loss stopped being finite. A low loss says nothing about honesty."
        charts.append(chart("loss", "Fine-tuning", note, lambda theme: loss_chart(run.training, theme)))
    return charts


def _comparison(runs: Sequence[Run]) -> list[Chart]:
    """The rates after fine-tuning (or of the last condition that was measured) of all runs in one chart."""
    from soo_jax.report.plots import compare_chart

    after = []
    for run in runs:
        cells = aggregate(deception_rows(run), pool_orders=True)
        conditions = in_sequence(cell.condition for cell in cells)
        if conditions:
            trained = [name for name in conditions if name.partition(VARIANT)[0] == AFTER]
            for last in trained or conditions[-1:]:
                name = f"{run.path.name}, {condition_title(last)}"
                after.append((name, [cell for cell in cells if cell.condition == last]))
    if not after:
        return []
    note = "Both orders pooled; lines are 95 % intervals."
    return [
        chart("compare-honest", "Honest answers", note, lambda theme: compare_chart(after, "honest", theme)),
        chart("compare-deceptive", "Deceptive answers", note, lambda theme: compare_chart(after, "deceptive", theme)),
    ]
