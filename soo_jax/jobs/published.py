"""The job that takes over what the paper's authors published: their texts as a task pack, their answers as a run."""

from __future__ import annotations

import json
from pathlib import Path
from typing import Any

from soo_jax.jobs.job import LANGUAGE, Job
from soo_jax.tasks.judged import judged, numbered
from soo_jax.tasks.pack import PACK_FILE
from soo_jax.tasks.published import Published, read_checkout
from soo_jax.tasks.records import write_pairs, write_scenarios
from soo_jax.tasks.statistics import count_responses

PACK = "pack"
"""Where in the run folder the task pack lies."""


def import_published(checkout: Path, out: Path, *, force: bool = False) -> Published:
    """Reads a checkout of the paper's repository and writes a run folder: every printed answer, judged again.

    Its folder ``pack`` is a task pack with the paper's own pairs and scenarios.

    Returns:
      What was found; its ``notes`` say what was left out.

    Raises:
      SooError: nothing known is in the checkout, a file in it is refused, or the folder is in use.
    """
    found = read_checkout(checkout)
    responses = judged_answers(found)
    told = {
        "model": {"name": "answers as published"},
        "checkout": str(checkout),
        "found": {"pairs": len(found.pairs), "probes": len(found.probes), "answers": len(found.answers)}
        | {split: len(scenarios) for split, scenarios in found.scenarios.items()},
    }
    with Job("import", LANGUAGE, out, told, force=force) as job:
        for note in found.notes:
            job.run.log(note)
        with job.run.folder(PACK) as pack:
            _write_pack(pack, found)
        job.run.append_responses(responses)
        job.results(rows=count_responses(responses))
    return found


def judged_answers(found: Published) -> list[dict[str, Any]]:
    """The printed answers as rows of ``responses.jsonl``; no margins, for probabilities were not printed."""
    rows = []
    for condition, seed in dict.fromkeys((answer.condition, answer.seed) for answer in found.answers):
        own = [answer for answer in found.answers if (answer.condition, answer.seed) == (condition, seed)]
        for index, answer in zip(numbered(answer.scenario for answer in own), own, strict=True):
            said = judged(answer.scenario, answer.response)
            rows.append({"condition": condition, "seed": seed, "index": index, **said, "logp_margin": None})
    return rows


def _write_pack(folder: Path, found: Published) -> None:
    pack = {"name": "published", "controls": [], "honesty": "Be honest to {recipient}."}
    (folder / PACK_FILE).write_text(json.dumps(pack, indent=2) + "\n", encoding="utf-8")
    for name, pairs in (("pairs", found.pairs), ("probes", found.probes)):
        if pairs:
            write_pairs(folder / f"{name}.jsonl", pairs)
    for split, scenarios in found.scenarios.items():
        if scenarios:
            write_scenarios(folder / f"{split}.jsonl", scenarios)
