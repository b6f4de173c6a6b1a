"""The tables of docs/rl.md, as Markdown, from run folders of ``soo rl``.

    python scripts/rl_tables.py runs/rl

Every line is one condition: mean ± standard deviation over agents, and in brackets the 95 % interval of the mean
(``soo_jax.rl.statistics``: reds are what is resampled).
"""

from __future__ import annotations

import argparse
from pathlib import Path

import numpy as np

from soo_jax.report.rl_words import METRICS, condition_title
from soo_jax.rl.statistics import Summary, agent_rows, aggregate, changes, detection_rows
from soo_jax.runs import read_run

BEHAVIOUR = ("trapped", "red_ever_at_goal", "blue_at_goal", "deceptive_rate", "steps_in_sight", "return_blue")
OVERLAP = ("soo_log", "soo_log_untrapped", "soo_relative_untrapped", "activation_variance", "red_decoded")
DIFFERENCES = (
    "difference_to_deceptive",
    "difference_to_honest",
    "reference_difference_to_deceptive",
    "reference_difference_to_honest",
)


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


def table(rows: list[dict], metrics: tuple[str, ...], interval: bool = False) -> None:
    """One line per condition."""
    found = aggregate(rows)
    print("| condition | n | " + " | ".join(METRICS[m].title if m in METRICS else m for m in metrics) + " |")
    print("|---" * (len(metrics) + 2) + "|")
    for condition in dict.fromkeys(row["condition"] for row in agent_rows(rows)):
        cells = []
        for i, metric in enumerate(metrics):
            digits = METRICS[metric].digits if metric in METRICS else 3
            cells.append(cell(found.get((condition, metric)), digits, interval and i == 0))
        count = max(f.n for (c, _), f in found.items() if c == condition)
        print(f"| {condition_title(condition)} | {count} | " + " | ".join(cells) + " |")


def detection(rows: list[dict], counts: tuple[int, ...] = (1, 10, 100, 500)) -> None:
    """AUROC and accuracy by episodes, and who else is flagged."""
    found = detection_rows(rows)
    known = {(r["metric"], r["steps"], r["episodes"]): r["value"] for r in found}
    print("\n| detector | steps | " + " | ".join(f"{n} episodes" for n in counts) + " |")
    print("|---" * (len(counts) + 2) + "|")
    for metric in dict.fromkeys(r["metric"] for r in found):
        for steps in ("all", "untrapped"):
            values = [known.get((metric, steps, n)) for n in counts]
            print(f"| {metric} | {steps} | " + " | ".join("–" if v is None else f"{v:.2f}" for v in values) + " |")


def blindness(rows: list[dict]) -> None:
    """What hiding red does to each deceptive agent beside what SOO does to it."""
    print("\n| change of each agent | trapped | blue at goal |\n|---|---|---|")
    for name in ("control:hidden", "soo", "soo:weak", "soo:strong", "control:more_rl"):
        found = changes(rows, "deceptive", name)
        if found:
            cells = [cell(found[metric], 2, True) for metric in ("trapped", "blue_at_goal")]
            print(f"| {condition_title(name)} | " + " | ".join(cells) + " |")
    by_agent = {(r["condition"], r["red"], r["seed"]): r["value"] for r in agent_rows(rows) if r["metric"] == "trapped"}
    agents = [key[1:] for key in by_agent if key[0] == "soo" and ("control:hidden", *key[1:]) in by_agent]
    if len(agents) > 2:
        moved = {
            name: [by_agent[name, *who] - by_agent["deceptive", *who] for who in agents]
            for name in ("control:hidden", "soo")
        }
        print(f"\ncorrelation over {len(agents)} agents: {np.corrcoef(*moved.values())[0, 1]:.2f}")


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("run", type=Path)
    arguments = parser.parse_args()
    run = read_run(arguments.run)
    for metrics in (BEHAVIOUR, OVERLAP, DIFFERENCES):
        table(run.rows, metrics, interval=metrics is BEHAVIOUR)
        print()
    detection(run.rows)
    blindness(run.rows)
    print("\nseconds: " + ", ".join(f"{name[:-2]} {value:.0f}" for name, value in run.results["timings"].items()))


if __name__ == "__main__":
    main()
