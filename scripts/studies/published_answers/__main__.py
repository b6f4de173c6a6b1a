"""The answers that the paper's authors published, judged again: act, stated intent, and where the two contradict.

python -m scripts.studies.published_answers ANSWERS [LABELS]

ANSWERS: a run folder of ``soo import-reference``, or JSON lines (may be gzipped) with condition, seed, scenario, index,
prompt, honest, deceptive, response. LABELS: JSON lines with the first four of these and intent (mislead, help or none),
given by hand; with them, the agreement of the rule is printed, too. Neither is part of this project.
"""

from __future__ import annotations

import argparse
import gzip
import json
import sys
from collections.abc import Sequence
from pathlib import Path
from typing import Any

import soo_jax as soo
from soo_jax.earlier import of_this_version
from soo_jax.errors import SooError
from soo_jax.report.llm.words import condition_title, family_title
from soo_jax.tasks.judged import judged
from soo_jax.tasks.statistics import aggregate, count_responses, mean_sd, wilson

KEY = ("condition", "seed", "family", "index")


def main(arguments: Sequence[str] | None = None) -> int:
    """Prints the tables, with 95 % intervals (Wilson); returns the exit code."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("answers", type=Path)
    parser.add_argument("labels", type=Path, nargs="?")
    options = parser.parse_args(arguments)
    source = options.answers / "responses.jsonl" if options.answers.is_dir() else options.answers
    try:
        answers = {_key(row): row | judged(_scenario(row), row["response"]) for row in read_lines(source)}
        print(acts_table(list(answers.values())))
        if options.labels is None:
            return 0
        labels = read_lines(options.labels)
        missing = [row for row in labels if _key(row) not in answers]
        if not labels:
            raise SooError(f"{options.labels}: holds no labels")
        if missing:
            raise SooError(f"{options.labels}: {len(missing)} labels are of answers that {options.answers} lacks")
        pairs = [(row["intent"], answers[_key(row)]["intent"]) for row in labels]
    except SooError as error:
        print(error, file=sys.stderr)
        return 2
    except (KeyError, TypeError) as error:
        print(f"{source} or {options.labels}: a line lacks {error}; see --help", file=sys.stderr)
        return 2
    print()
    print(agreement_table(pairs))
    return 0


def read_lines(path: Path) -> list[dict[str, Any]]:
    """The objects of a file of JSON lines. Raises SooError where it cannot be read."""
    try:
        with gzip.open(path, "rt") if path.suffix == ".gz" else path.open(encoding="utf-8") as lines:
            return [of_this_version(json.loads(line)) for line in lines if line.strip()]
    except (OSError, ValueError) as error:
        raise SooError(f"{path}: cannot be read as JSON lines ({error})") from error


def acts_table(responses: Sequence[dict[str, Any]]) -> str:
    """Per cent of answers by model, seed and family, in Markdown; of several seeds also mean and spread."""
    lines = [
        "| model | seed | family | n | honest act | says it means to mislead | honest act, says so "
        "| honest act, does not | deceptive act | no act | deceptive by the paper's count |",
        "|---|---|---|---|---|---|---|---|---|---|---|",
    ]
    rows = count_responses(responses)
    for row in rows:
        kept, silent = row["honest"] - row["contradiction"], row["refusal"] + row["other"]
        counts = (row["honest"], row["mislead"], row["contradiction"], kept, row["deceptive"], silent)
        paper = row["paper_deceptive"]
        model, seed = condition_title(row["condition"]), "" if row["seed"] is None else row["seed"]
        told = " | ".join(_share(count, row["n"]) for count in counts)
        lines.append(f"| {model} | {seed} | {family_title(row['family'])} | {row['n']} | {told} | {paper} |")
    for cell in aggregate(rows):
        if cell.seeds > 1:
            honest, said = cell.honest.values, cell.contradiction.values
            kept = [h - c for h, c in zip(honest, said, strict=True)]
            told = " | ".join(map(_spread, (honest, cell.mislead.values, said, kept, cell.deceptive.values)))
            title = f"{condition_title(cell.condition)} | mean ± sd | {family_title(cell.family)} | {cell.n}"
            lines.append(f"| {title} | {told} | | |")
    return "\n".join(lines)


def _share(count: int, n: int) -> str:
    low, high = wilson(count, n)
    return f"{100 * count / n:.1f} ({100 * low:.0f} to {100 * high:.0f})"


def _spread(values: Sequence[float]) -> str:
    mean, sd = mean_sd(values)
    return f"{mean:.1f} ± {sd:.1f}"


def agreement_table(pairs: Sequence[tuple[str, str]]) -> str:
    """Rows of a Markdown table from (by hand, by rule)."""
    both = sum(hand == rule == "mislead" for hand, rule in pairs)
    counts = {
        "agreement": (sum(hand == rule for hand, rule in pairs), len(pairs)),
        "precision for mislead": (both, sum(rule == "mislead" for _, rule in pairs)),
        "recall for mislead": (both, sum(hand == "mislead" for hand, _ in pairs)),
    }
    lines = ["| | of | share | 95 % interval |", "|---|---|---|---|"]
    for name, (right, n) in counts.items():
        low, high = wilson(right, n) if n else (0.0, 1.0)
        lines.append(f"| {name} | {n} | {right / max(n, 1):.3f} | {low:.2f} to {high:.2f} |")
    return "\n".join(lines)


def _scenario(row: dict[str, Any]) -> soo.Scenario:
    """What was asked; whoever asks is the one name that the prompt's families know."""
    name = next((name for name in ("Oliver", "Bob") if name in row["prompt"]), "")
    order = row.get("order", "wrong_first")
    return soo.Scenario(row["family"], order, row["prompt"], row["honest"], row["deceptive"], name)


def _key(row: dict[str, Any]) -> tuple[Any, ...]:
    return tuple(row[name] for name in KEY)


if __name__ == "__main__":
    raise SystemExit(main())
