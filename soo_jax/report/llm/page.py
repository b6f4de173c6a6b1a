"""The page about runs of language models: the headline, rates, charts, samples."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from typing import Any

from soo_jax.report.llm.comparison import MEASURES, chance, sequence, span, verdict
from soo_jax.report.llm.drift import Drift, drifts, shown
from soo_jax.report.llm.samples import Sample, pick_samples
from soo_jax.report.llm.short import Point, in_short
from soo_jax.report.llm.sweep import CAPTION as SWEEP_CAPTION
from soo_jax.report.llm.sweep import MAP, axes_of, best_line, setting_rows, settings_of, sweep_map
from soo_jax.report.llm.tables import Line, cell_rows, contradicts, deception_rows, interval, silent, table_lines
from soo_jax.report.llm.words import (
    VERDICTS,
    condition_title,
    families_in_sequence,
    family_title,
    in_sequence,
)
from soo_jax.report.page import Chart, chart, provenance, render, settings, timings, trouble
from soo_jax.runs import Run
from soo_jax.tasks.run_comparison import Comparison, difference_rows, within_run
from soo_jax.tasks.statistics import AFTER, VARIANT, Cell, SeedOutcome, aggregate, controls_among, seed_outcomes

SWEEP, LAYERS = "sweep", "layers"
MANY = 400
"""Cells of a sweep too large for every condition to be tested on the page; ``soo compare`` still does."""


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
    short: list[Point]
    headline: Headline | None
    advice: str
    comparisons: list[Comparison]
    drifts: list[Drift]
    outcomes: list[SeedOutcome]
    conditions: list[str]
    cells: list[Cell]
    lines: list[Line]
    charts: list[Chart]
    samples: list[Sample]
    settings: list[tuple[str, str]]
    provenance: list[tuple[str, str]]
    timings: list[tuple[str, str]]


def models_page(runs: Sequence[Run]) -> tuple[list[list[Chart]], str]:
    """The charts of each run about a language model, and the page about all."""
    sections = [_section(run) for run in runs]
    filters = {
        "interval": interval,
        "silent": silent,
        "contradicts": contradicts,
        "condition_title": condition_title,
        "settings_of": lambda condition: condition.partition(VARIANT)[2].replace("_", " "),
        "family_title": family_title,
        "shown": shown,
        "by_family": sequence,
        "shows": verdict,
        "chance": chance,
        "span": span,
        "unbroken": lambda text: text.replace(" %", "\N{NO-BREAK SPACE}%"),
        "difference_rows": difference_rows,
        "cell_rows": cell_rows,
        "plain_rows": lambda found: [vars(one) for one in found],
        "measure_title": lambda comparison: MEASURES[comparison.measure],
        "condition_of": lambda title: condition_title(title.partition(":")[2]),
    }
    comparison = _comparison(runs) if len(runs) > 1 else []
    page = render("llm/page.html.jinja", filters, sections=sections, comparison=comparison, verdicts=VERDICTS)
    return [section.charts for section in sections], page


def _section(run: Run) -> Section:
    rows = deception_rows(run)
    cells = aggregate(rows)
    headline = None if run.config.get("job") in (SWEEP, LAYERS) else _headline(rows, cells)
    outcomes = seed_outcomes(rows, run.training)
    return Section(
        run=run,
        model=_model_name(run.config.get("model")),
        trouble=trouble(run),
        short=[] if headline is None else in_short(run, rows, headline.family, outcomes),
        headline=headline,
        advice=_advice(run),
        comparisons=within_run(run) if len(cells) < MANY else [],
        drifts=drifts(run.drift),
        outcomes=outcomes,
        conditions=in_sequence(cell.condition for cell in cells),
        cells=cells,
        lines=table_lines(cells),
        charts=_charts(run, cells),
        samples=pick_samples(run),
        settings=settings(run),
        provenance=provenance(run),
        timings=timings(run),
    )


def _advice(run: Run) -> str:
    """What a diagnosis of layers advised, or the best setting of a sweep."""
    if run.config.get("job") == SWEEP:
        return best_line(run)
    path = run.path / "advice.txt"
    return path.read_text(encoding="utf-8").strip() if run.layers and path.is_file() else ""


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
    from soo_jax.report.llm.plots import latent_chart, loss_chart, rates_chart

    charts = []
    found = settings_of(run) if run.config.get("job") in (SWEEP, LAYERS) else []
    if axes_of(found) is not None:
        charts.append(
            chart("sweep", "Settings", MAP + SWEEP_CAPTION, setting_rows(found), lambda theme: sweep_map(found, theme))
        )
    if cells:
        several = " Ticks are single seeds." if any(cell.seeds > 1 for cell in cells) else ""
        note = "Lines are 95 % intervals." + several
        for name in ("honest", "deceptive"):
            draw = lambda theme, name=name: rates_chart(cells, name, theme)
            charts.append(chart(name, f"{name.capitalize()} answers", note, cell_rows(cells), draw))
    if run.latent:
        note = (
            "Mean squared distance over the held-out probe pairs; thin lines are single seeds. Normalised by the "
            "mean square of the activations, so that merely shrinking them gains nothing."
        )
        draw = lambda theme: latent_chart(run.latent, theme)
        charts.append(chart("latent", "Distance between self and other", note, run.latent, draw))
    if run.layers:
        from soo_jax.report.llm.layers import CAPTION, layers_chart

        title = "What each layer makes of self and other"
        charts.append(chart("layers", title, CAPTION, run.layers, lambda theme: layers_chart(run.layers, theme)))
    if run.training:
        note = "A cross marks a seed whose loss stopped being finite. A low loss says nothing about honesty."
        charts.append(chart("loss", "Fine-tuning", note, run.training, lambda theme: loss_chart(run.training, theme)))
    return charts


def _comparison(runs: Sequence[Run]) -> list[Chart]:
    """The rates after fine-tuning (or of the last condition that was measured) of all runs in one chart."""
    from soo_jax.report.llm.plots import compare_chart

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
    rows = [{"run": name} | row for name, cells in after for row in cell_rows(cells)]
    draw = lambda name: lambda theme: compare_chart(after, name, theme)
    return [
        chart(f"compare-{name}", f"{name.capitalize()} answers", note, rows, draw(name))
        for name in ("honest", "deceptive")
    ]
