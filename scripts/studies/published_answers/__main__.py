"""How well the rule of stated intent agrees with labels given by hand.

python -m scripts.studies.published_answers ANSWERS LABELS

ANSWERS: JSON lines (may be gzipped) with condition, seed, scenario, index, prompt, honest, deceptive, response.
LABELS: JSON lines with the first four of these and intent (mislead, help or none). Neither is part of this project.
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
from soo_jax.errors import SooError
from soo_jax.tasks.statistics import wilson

KEY = ("condition", "seed", "scenario", "index")


def main(arguments: Sequence[str] | None = None) -> int:
    """Prints agreement, precision and recall with 95 % intervals (Wilson); returns the exit code."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("answers", type=Path)
    parser.add_argument("labels", type=Path)
    options = parser.parse_args(arguments)
    try:
        answers = {_key(row): row for row in read_lines(options.answers)}
        labels = read_lines(options.labels)
        missing = [row for row in labels if _key(row) not in answers]
        if not labels:
            raise SooError(f"{options.labels}: holds no labels")
        if missing:
            raise SooError(f"{options.labels}: {len(missing)} labels are of answers that {options.answers} lacks")
        pairs = [(row["intent"], found_intent(answers[_key(row)])) for row in labels]
    except SooError as error:
        print(error, file=sys.stderr)
        return 2
    except (KeyError, TypeError) as error:
        print(f"{options.answers} or {options.labels}: a line lacks {error}; see --help", file=sys.stderr)
        return 2
    print(table(pairs))
    return 0


def read_lines(path: Path) -> list[dict[str, Any]]:
    """The objects of a file of JSON lines. Raises SooError where it cannot be read."""
    try:
        with gzip.open(path, "rt") if path.suffix == ".gz" else path.open(encoding="utf-8") as lines:
            return [json.loads(line) for line in lines if line.strip()]
    except (OSError, ValueError) as error:
        raise SooError(f"{path}: cannot be read as JSON lines ({error})") from error


def found_intent(row: dict[str, Any]) -> str:
    """What the rule says of an answer; whoever asks is the one name that the prompt's families know."""
    name = next((name for name in ("Oliver", "Bob") if name in row["prompt"]), "")
    scenario = soo.Scenario("burglar", "wrong_first", row["prompt"], row["honest"], row["deceptive"], name)
    return soo.stated_intent(row["response"], scenario)


def table(pairs: Sequence[tuple[str, str]]) -> str:
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


def _key(row: dict[str, Any]) -> tuple[Any, ...]:
    return tuple(row[name] for name in KEY)


if __name__ == "__main__":
    raise SystemExit(main())
