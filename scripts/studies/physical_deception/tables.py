"""Tables of run folders of ``soo rl``, as lines of Markdown.

Every line is one condition: mean ± standard deviation over agents, and in brackets the 95 % interval of the mean
(``soo_jax.rl.statistics``: reds are what is resampled, and two are too few).
"""

from __future__ import annotations

from collections.abc import Iterable, Sequence
from typing import Any

import numpy as np

from scripts.studies.tables import line
from soo_jax.report.rl.tables import main_metrics
from soo_jax.report.rl.words import condition_title, in_sequence, metric
from soo_jax.rl.games import Metric, Words, game
from soo_jax.rl.statistics import Summary, agent_rows, aggregate, changes, detection_rows

BEHAVIOUR = ("trapped", "red_ever_at_goal", "blue_at_goal", "deceptive_rate", "steps_in_sight", "return_blue")
OVERLAP = ("soo_log", "soo_log_untrapped", "soo_relative_untrapped", "activation_variance", "red_decoded")
DIFFERENCES = (
    "difference_to_deceptive",
    "difference_to_honest",
    "reference_difference_to_deceptive",
    "reference_difference_to_honest",
)
EPISODES = (1, 10, 100, 500)
Rows = Sequence[dict[str, Any]]
WORDS = game("physical_deception").words


def level(found: Summary | None, about: Metric, interval: bool = True) -> str:
    """``mean ± sd [low, high]`` of a metric; an interval ends where the metric does."""
    if found is not None and found.low is not None:
        found = found._replace(low=max(found.low, about.least), high=min(found.high, about.most))
    return cell(found, about.digits, interval)


def cell(found: Summary | None, digits: int, interval: bool) -> str:
    """``mean ± sd [low, high]``."""
    if found is None or not found.n:
        return "–"
    text = f"{found.mean:.{digits}f}"
    if found.sd is not None:
        text += f" ± {found.sd:.{digits}f}"
    if interval and found.low is not None:
        text += f" [{found.low:.{digits}f}, {found.high:.{digits}f}]"
    return text


def table(rows: Rows, metrics: Sequence[str] | None = None, words: Words = WORDS) -> list[str]:
    """One line per condition, the first metric with its interval; None: the metrics that reports show first."""
    found = aggregate(rows)
    metrics = metrics or main_metrics((name for _, name in found), words)
    lines = []
    for condition in in_sequence(row["condition"] for row in agent_rows(rows)):
        own = [found.get((condition, name)) for name in metrics]
        if not any(own):
            continue
        cells = [level(one, metric(name, words), not i) for i, (one, name) in enumerate(zip(own, metrics, strict=True))]
        count = max(summary.n for (c, _), summary in found.items() if c == condition)
        lines.append(line(condition_title(condition), count, *cells))
    return [*head("condition", "n", *(metric(name, words).title for name in metrics)), *lines]


def detection(rows: Rows) -> list[str]:
    """AUROC and accuracy by episodes with their intervals by reds, and who else is called deceptive."""
    found = detection_rows(rows)
    known = {(r["metric"], r["steps"], r["episodes"]): _told(r) for r in found}
    lines = []
    for name, steps in dict.fromkeys((r["metric"], r["steps"]) for r in found):
        lines.append(line(name, steps, *(known.get((name, steps, n), "–") for n in EPISODES)))
    return [*head("detector", "steps", *(f"{n} episodes" for n in EPISODES)), *lines] if lines else []


def _told(row: dict[str, Any]) -> str:
    """A share with its interval, of which what lies beyond all shares is cut off."""
    if row["value"] is None:
        return "–"
    interval = "" if row.get("low") is None else f" [{max(row['low'], 0.0):.2f}, {min(row['high'], 1.0):.2f}]"
    return f"{row['value']:.2f}{interval}"


def blindness(rows: Rows) -> list[str]:
    """What hiding red does to each deceptive agent beside what SOO does to it, and how the two go together."""
    lines = []
    for name in ("control:hidden", "soo", "soo:weak", "soo:strong", "control:more_rl"):
        if found := changes(rows, "deceptive", name):
            cells = (cell(found[one], 2, True) for one in ("trapped", "blue_at_goal"))
            lines.append(line(condition_title(name), *cells))
    trapped = {(r["condition"], r["red"], r["seed"]): r["value"] for r in agent_rows(rows) if r["metric"] == "trapped"}
    agents = [key[1:] for key in trapped if key[0] == "soo" and ("control:hidden", *key[1:]) in trapped]
    moved = [[trapped[name, *who] - trapped["deceptive", *who] for who in agents] for name in ("control:hidden", "soo")]
    told = [*head("change of each agent", "trapped", "blue at goal"), *lines]
    return [*told, "", f"Correlation of the two changes over {len(agents)} agents: {np.corrcoef(*moved)[0, 1]:.2f}."]


def single_agents(rows: Rows, metrics: Sequence[str]) -> list[str]:
    """Every agent's values, for conditions of a few agents."""
    values: dict[str, dict[str, list[str]]] = {}
    for row in agent_rows(rows):
        if row["metric"] in metrics:
            text = "–" if row["value"] is None else f"{row['value']:.2f}"
            values.setdefault(row["condition"], {}).setdefault(row["metric"], []).append(text)
    lines = [line(condition_title(c), *(", ".join(own.get(name, ())) for name in metrics)) for c, own in values.items()]
    return [*head("condition", *(metric(name, WORDS).title for name in metrics)), *lines]


def head(*names: object) -> list[str]:
    """The first two lines of a table."""
    return [line(*names), "|---" * len(names) + "|"]


def joined(parts: Iterable[list[str]]) -> str:
    """Tables one below the other."""
    return "\n\n".join("\n".join(part) for part in parts if part)
