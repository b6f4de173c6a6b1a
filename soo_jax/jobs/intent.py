"""The job behind ``soo intent``: a judge sorts the answers of a run by stated intent, beside the rule."""

from __future__ import annotations

import json
import time
from dataclasses import asdict
from pathlib import Path
from typing import Any

from soo_jax.checkpoints import digest
from soo_jax.errors import SooError
from soo_jax.files import append_whole, cut_torn_line, read_json_lines
from soo_jax.jobs.judge import JudgeConfig, Request, cost, judge_all
from soo_jax.progress import Reporter
from soo_jax.runs import RunFolder, read_run
from soo_jax.tasks.intent_judge import NAME, SYSTEM, Agreement, agreements, judge_prompt, judged_intent

JUDGMENTS, TABLE = "judgments/intent.jsonl", "intent.json"


def run_intent(run: Path, config: JudgeConfig, *, reporter: Reporter | None = None) -> list[Agreement]:
    """Has each answer outside of controls judged once, however often it was given; what was judged before is kept.

    Writes ``judgments/intent.jsonl``, a line as soon as it is known, and ``intent.json``, the rows that it returns.

    Raises:
      SooError: the run has no such answers, or the judge cannot be asked; what was judged until then is kept.
    """
    reporter = reporter or Reporter()
    answers = _answers(run)
    folder = RunFolder.annotate(run)
    known = _known(run, config.model)
    texts = {_key(row): (row["prompt"], row["response"]) for row in answers}
    requests = [Request(key, SYSTEM, judge_prompt(*text)) for key, text in texts.items() if key not in known]
    if requests:
        reporter.say(cost(requests, config))
        for request, said in judge_all(requests, config, reporter.task(f"judge: {config.model}")):
            known[request.name] = judged_intent(said)
            row = {"answer": request.name, "judge": [config.model, NAME], "intent": known[request.name]}
            row |= {"judgment": said, "tstamp": time.time()}
            folder.claim(JUDGMENTS)
            (run / JUDGMENTS).parent.mkdir(exist_ok=True)
            append_whole(run / JUDGMENTS, json.dumps(row, ensure_ascii=False) + "\n")
    rows = agreements((row["condition"], row["intent"], known[_key(row)]) for row in answers)
    told = {"judge": [config.model, NAME], "rows": [asdict(row) for row in rows]}
    folder.write_text(TABLE, json.dumps(told, indent=2) + "\n")
    return rows


def _answers(run: Path) -> list[dict[str, Any]]:
    """Answers that have a stated intent by the rule: all but those of controls, and of runs older than the rule."""
    found = [row for row in read_run(run).responses if row.get("intent") is not None]
    if not found:
        raise SooError(f"{run}: holds no answers that could state an intent; soo eval makes such runs")
    return found


def _key(row: dict[str, Any]) -> str:
    return digest([row["prompt"], row["response"]])


def _known(run: Path, model: str) -> dict[str, str | None]:
    """What this judge said before, asked in these words."""
    place = run / JUDGMENTS
    if not cut_torn_line(place):
        return {}
    form = '{"answer": "...", "judge": ["NAME", "soo-jax-intent-1"], "intent": "mislead"}'
    rows = read_json_lines(place, dict, form)
    return {row["answer"]: row["intent"] for row in rows if row["judge"] == [model, NAME]}
