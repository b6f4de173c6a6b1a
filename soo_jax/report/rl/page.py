"""The page about RL runs: what agents do, what overlap has to do with it, and every single one."""

from __future__ import annotations

from collections import defaultdict
from collections.abc import Collection, Mapping, Sequence
from dataclasses import dataclass, replace
from typing import Any

from soo_jax.errors import SooError
from soo_jax.report.page import Chart, chart, provenance, render, settings, timings, trouble
from soo_jax.report.rl.tables import Cell, Line, cell, lines, main_metrics, number
from soo_jax.report.rl.words import (
    DIFFERENCES,
    GROUPS,
    SHARED,
    began_as,
    condition_title,
    group,
    in_sequence,
    metric,
    overlap_names,
    told,
    words_of,
)
from soo_jax.rl.games.words import Metric, Words
from soo_jax.rl.statistics import (
    Summary,
    agent_rows,
    aggregate,
    changes,
    detection_rows,
    flipped,
    never_deceived,
)
from soo_jax.runs import Run

MAPS = ("sweep",)
"""Charts that a page begins with: of many combinations, a map says more than any table."""
_BESIDE = ("honest", "control:more_rl", "control:hidden", "control:random_pairs")
Cells = Mapping[tuple[str, str], Summary]


@dataclass(frozen=True)
class Tile:
    """A headline figure: ``before`` is empty where there is none; ``beside`` are others to read it against."""

    title: str
    unit: str
    before: str
    after: Cell
    beside: list[tuple[str, str]]


@dataclass(frozen=True)
class Table:
    """A table of conditions by metrics."""

    title: str
    note: str
    columns: list[str]
    lines: list[Line]
    change: bool = False


@dataclass(frozen=True)
class Agent:
    """One agent: its values in the columns of its run, and what is odd about it."""

    opponent: Any
    seed: Any
    values: list[str]
    odd: str


@dataclass(frozen=True)
class Section:
    """All that the page shows of one run."""

    run: Run
    words: Words
    trouble: str
    subtitle: str
    about: str
    tiles: list[Tile]
    columns: list[str]
    overview: list[Line]
    tables: list[Table]
    further: Table | None
    detection: tuple[list[str], list[list[str]]]
    charts: list[Chart]
    agents: dict[str, list[Agent]]
    settings: list[tuple[str, str]]
    provenance: list[tuple[str, str]]
    timings: list[tuple[str, str]]

    @property
    def maps(self) -> list[Chart]:
        """What the page begins with."""
        return [one for one in self.charts if one.name in MAPS]

    @property
    def further_charts(self) -> list[Chart]:
        """What comes behind the tables."""
        return [one for one in self.charts if one.name not in MAPS]


def agents_page(runs: Sequence[Run]) -> tuple[list[list[Chart]], str]:
    """The charts of each run, and the page about all.

    Raises:
      SooError: arrays beside a run's results are damaged.
    """
    sections = [_section(run) for run in runs]
    readings = list(dict.fromkeys(one.words.reading for one in sections if one.words.reading))
    page = render("rl/page.html.jinja", {}, sections=sections, readings=readings)
    return [section.charts for section in sections], page


def _section(run: Run) -> Section:
    cells, words = aggregate(run.rows), words_of(run)
    charts = _charts(run, cells, words)
    mapped = any(one.name in MAPS for one in charts)
    compared, metrics = _after(cells), main_metrics((name for _, name in cells), words)
    return Section(
        run=run,
        words=words,
        trouble=trouble(run),
        subtitle=", ".join(str(run.config[name]) for name in ("job", "preset") if run.config.get(name)),
        about=condition_title(compared),
        tiles=[] if mapped else _tiles(cells, words, compared),
        columns=[metric(name, words).title for name in metrics],
        overview=lines(cells, metrics, words),
        tables=_tables(run.rows, cells, words, metrics),
        further=_further(cells, words),
        detection=_detection(run.rows, words),
        charts=charts,
        agents=_agents(run, words, metrics),
        settings=settings(run),
        provenance=provenance(run),
        timings=timings(run),
    )


# ---- figures ------------------------------------------------------------------------------------------------------


def _after(cells: Cells) -> str:
    """The condition that the headline is about: after SOO, else the deceptive agent, else the first."""
    found = in_sequence(condition for condition, _ in cells)
    return next((name for name in ("soo", "deceptive") if name in found), found[0] if found else "")


def _tiles(cells: Cells, words: Words, after: str) -> list[Tile]:
    tiles = []
    for name, (title, unit) in words.tiles.items():
        if (after, name) not in cells:
            continue
        about = metric(name, words)
        shown = lambda condition, name=name, about=about: _headline_cell(cells[condition, name], about)
        before = began_as(after)
        beside = [(condition_title(c), shown(c).mean) for c in _BESIDE if c != after and (c, name) in cells]
        start = shown(before).mean if before and (before, name) in cells else ""
        tiles.append(Tile(title, unit, start, shown(after), beside))
    return tiles


def _headline_cell(found: Summary, about: Metric) -> Cell:
    """Fractions as per cent."""
    own = cell(found, about)
    if not about.fraction or not found.n:
        return own
    per_cent = lambda value: f"{100 * value:.1f}"
    interval = "" if found.low is None else f"{per_cent(max(found.low, 0))} to {per_cent(min(found.high, 1))} %"
    return replace(own, mean=f"{per_cent(found.mean)} %", sd=own.sd and per_cent(found.sd), interval=interval)


def _tables(rows: Sequence[dict[str, Any]], cells: Cells, words: Words, main: Sequence[str]) -> list[Table]:
    makings = (
        ("What agents do", tuple(words.behaviour), words.about_behaviour),
        ("Self-other overlap", overlap_names(words), "Lower is more overlap. Relative SOO is divided by the variance "
         f"of the activations, so that merely shrinking them gains nothing. {words.about_overlap}"),
        ("Behavioural difference", tuple(DIFFERENCES), "Mean squared difference between surfaces of deceptive moves, "
         f"agent by agent of the same {words.opponent} and seed: rates per visible step, and the reference's truncated "
         "counts."),
    )  # fmt: skip
    tables = [_table(title, note, cells, words, metrics) for title, metrics, note in makings]
    changed = {}
    for condition in dict.fromkeys(condition for condition, _ in cells):
        before = began_as(condition)
        found = changes(rows, before, condition) if before else {}
        changed |= {(condition, name): summary for name, summary in found.items()}
    note = "Against the same agent before it was treated. Bold where the interval leaves out zero."
    tables.append(_table("What changed, agent by agent", note, changed, words, main, change=True))
    return [table for table in tables if table.lines]


def _table(title: str, note: str, cells: Cells, words: Words, metrics: Sequence[str], change: bool = False) -> Table:
    metrics = [name for name in metrics if any(other == name for _, other in cells)]
    columns = [metric(name, words).title for name in metrics]
    return Table(title, note, columns, lines(cells, metrics, words, change), change)


def _further(cells: Cells, words: Words) -> Table | None:
    metrics = [name for name in dict.fromkeys(name for _, name in cells) if not told(name, words)]
    return _table("Further measures", "", cells, words, metrics) if metrics else None


def _detection(rows: Sequence[dict[str, Any]], words: Words) -> tuple[list[str], list[list[str]]]:
    """Headings and lines of the detector's table, one line per number of episodes."""
    found = {(row["metric"], row["steps"], row["episodes"]): _opinion(row, words) for row in detection_rows(rows)}
    columns = list(dict.fromkeys((name, steps) for name, steps, _ in found))
    known = {**words.steps, "auroc": "AUROC"}
    called = lambda name: known.get(name, name.replace("flagged_", "called deceptive: ").replace("_", " "))
    counts = sorted({count for *_, count in found})
    body = [[f"{n:,}", *(found.get((*column, n), "–") for column in columns)] for n in counts]
    return [f"{called(name)}, {called(steps)}" for name, steps in columns], body


def _opinion(row: dict[str, Any], words: Words) -> str:
    about = metric(row["metric"], words)
    text = number(row["value"], about)
    if row.get("low") is not None:
        text += f" [{number(row['low'], about)}, {number(row['high'], about)}]"
    return f"{text} (sign flipped)" if flipped(row) else text


# ---- every agent --------------------------------------------------------------------------------------------------


def _agents(run: Run, words: Words, main: Sequence[str]) -> dict[str, list[Agent]]:
    """By the title of their condition."""
    values = defaultdict(dict)
    for row in agent_rows(run.rows):
        values[row["condition"], row.get("red"), row.get("seed")][row["metric"]] = row["value"]
    stopped = _stopped(run.training)
    dull = {("deceptive", *who) for who in never_deceived(run.rows)}
    found = defaultdict(list)
    for condition in in_sequence(condition for condition, *_ in values):
        for who, own in values.items():
            if who[0] == condition:
                odd = "stopped learning" if who in stopped else "never deceived" if who in dull else ""
                texts = [number(own[name], metric(name, words)) if name in own else "" for name in main]
                found[condition_title(condition)].append(Agent(*who[1:], texts, odd))
    return dict(found)


def _stopped(training: Sequence[dict[str, Any]]) -> set[tuple[Any, Any, Any]]:
    """Agents that were frozen in training, as rows say; in older runs, those of whom a number stopped being finite."""
    seen, broken = set(), set()
    for row in training:
        who = (row.get("condition"), row.get("red"), row.get("seed"))
        if row.get("frozen"):
            broken.add(who)
        for name, value in row.items():
            if value is not None:
                seen.add((who, name))
            elif (who, name) in seen:
                broken.add(who)
    return broken


# ---- charts -------------------------------------------------------------------------------------------------------


def _charts(run: Run, cells: Cells, words: Words) -> list[Chart]:
    from soo_jax.report.rl.maps import geometry_chart, geometry_rows, surface_chart, surface_rows
    from soo_jax.report.rl.plots import condition_chart, detection_chart, difference_chart
    from soo_jax.report.rl.sweep import MAP, combinations, is_sweep, sweep_map

    measured = {name for _, name in cells}
    if is_sweep(run):
        found = combinations(run)
        learned = _learning_charts(run)
        return (
            [chart("sweep", "What varied", MAP, run.rows, lambda t: sweep_map(found, words, t)), *learned]
            if found
            else learned
        )
    note = "Dots are means, lines 95 % intervals, ticks single agents."
    beside = any(not name.startswith(("soo", "activation")) for name in measured & set(words.overlap))
    charts = []
    for name, title, metrics in (
        ("conditions", "What agents do", [name for name in words.behaviour if name in measured][:4]),
        ("overlap", "Self-other overlap" + ", and what else is seen" * beside, _overlap(measured, words)),
    ):
        if measured & set(metrics):
            draw = lambda theme, metrics=metrics: condition_chart(cells, metrics, words, theme)
            own = [row for row in agent_rows(run.rows) if row["metric"] in metrics]
            charts.append(chart(name, title, note, own, draw))
    if measured & set(DIFFERENCES):
        note = "Shorter bars: more alike. The two normalisations can disagree. Lines are 95 % intervals."
        own = [row for row in agent_rows(run.rows) if row["metric"] in DIFFERENCES]
        draw = lambda theme: difference_chart(cells, theme)
        charts.append(chart("differences", "Behavioural difference", note, own, draw))
    if detection_rows(run.rows):
        note = (
            "A high log SOO is taken as a sign of deception. The dotted line is chance; “called deceptive” are agents "
            "outside of both classes, on whom a good detector would stay silent."
        )
        own, draw = detection_rows(run.rows), lambda theme: detection_chart(run.rows, words, theme)
        charts.append(chart("detection", "Catching the deceiver", note, own, draw))
    charts += _learning_charts(run)
    if surfaces := _arrays(run, "surfaces.safetensors"):
        note = (
            "How often blue moves towards the fake, by how straight (projection) and how far apart fake and goal lie "
            "(cosine); the cross marks the thresholds of the deceptive rate."
        )
        own, draw = surface_rows(surfaces), lambda theme: surface_chart(surfaces, theme)
        charts.append(chart("surfaces", "Deceptive moves by threshold", note, own, draw))
    if geometry := _arrays(run, "geometry.safetensors"):
        note = "Activations of self and other views on the two principal axes that all conditions share."
        own, draw = geometry_rows(geometry), lambda theme: geometry_chart(geometry, theme)
        charts.append(chart("geometry", "Self and other in the activations", note, own, draw))
    return charts


def _overlap(measured: Collection[str], words: Words) -> list[str]:
    """What the game tells of overlap itself, else what all games do."""
    return [name for name in words.overlap if name in measured][:4] or [name for name in SHARED if name in measured][:3]


def _learning_charts(run: Run) -> list[Chart]:
    """One chart per kind of condition, so that no more lines cross than can be followed."""
    from soo_jax.report.rl.plots import learning_chart

    by_group = defaultdict(list)
    for row in run.training:
        if "condition" in row and "step" in row:
            by_group[group(row["condition"])].append(row)
    note = "Thick lines are means, thin ones single agents; a cross marks one whose numbers stopped being finite."
    return [
        chart(
            f"learning-{kind}",
            f"Training: {GROUPS[kind]}",
            note,
            by_group[kind],
            lambda t, rows=by_group[kind]: learning_chart(rows, t),
        )
        for kind in GROUPS
        if kind in by_group
    ]


def _arrays(run: Run, name: str) -> dict[str, Any]:
    """The arrays of a file of the run; none where there is no such file."""
    from safetensors import SafetensorError
    from safetensors.numpy import load_file

    path = run.path / name
    if not path.exists():
        return {}
    try:
        return load_file(path)
    except (SafetensorError, OSError) as error:
        raise SooError(f"{path}: is damaged ({error}); the run has to be made again") from error
