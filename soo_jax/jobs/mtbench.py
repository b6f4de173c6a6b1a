"""The jobs of MT-Bench: answer, have judged, and what came of it."""

from __future__ import annotations

import json
import time
from collections.abc import Sequence
from pathlib import Path
from typing import Any

from soo_jax.adapters.members import columns
from soo_jax.errors import SooError
from soo_jax.files import append_whole, cut_torn_line, read_json_lines
from soo_jax.jobs.job import LANGUAGE, Job
from soo_jax.jobs.judge import JudgeConfig, Request, cost, judge_all
from soo_jax.jobs.mtbench_prompts import Prompts
from soo_jax.llm.folders import load_adapters
from soo_jax.llm.mtbench import BenchConfig, answer_questions, check_questions
from soo_jax.models.lm import LM
from soo_jax.progress import Reporter
from soo_jax.runs import RunFolder, read_run
from soo_jax.tasks.mtbench import (
    BenchQuestion,
    answer_row,
    question_row,
    rating,
    read_answers,
    read_questions,
    score_rows,
)

ANSWERS, JUDGMENTS, QUESTIONS = "answers", "judgments", "questions.jsonl"
"""Folders of a run, one file a model; and the questions as they were asked."""


def run_answers(
    lm: LM,
    questions: Path,
    config: BenchConfig,
    out: Path,
    *,
    references: Path | None = None,
    adapter_folders: Sequence[Path] = (),
    base: bool = True,
    resume: bool = False,
    force: bool = False,
    settings: dict[str, Any] | None = None,
    reporter: Reporter | None = None,
) -> None:
    """Answers all questions with the model as it is and with every adapter; writes ``answers/NAME.jsonl``.

    With ``resume`` it goes on behind the last question that a file holds whole.

    Raises:
      SooError: questions or adapters that cannot be read, a model without a chat template, a run of other settings.
    """
    asked = read_questions(questions, references)
    adapters = load_adapters(lm, adapter_folders) if adapter_folders else None
    if not base and adapters is None:
        raise SooError("mtbench: nothing to answer with; leave --base on or give an --adapter")
    check_questions(lm, asked, config)
    names = [] if adapters is None else [_name(own) for own in columns(adapters.members)]
    told = {"model": lm.identity, "settings": settings or {}, "mtbench": vars(config), "questions": len(asked)}
    told |= {"answered_by": (["base"] if base else []) + names}
    same = ("model", "mtbench", "questions", "answered_by")
    with Job("mtbench", LANGUAGE, out, told, same=same, resume=resume, force=force, reporter=reporter) as job:
        folder = job.run.path / ANSWERS
        folder.mkdir(exist_ok=True)
        job.run.write_text(QUESTIONS, "".join(json.dumps(question_row(one)) + "\n" for one in asked))
        for title, stack, members in (("base", None, ["base"] if base else []), ("adapters", adapters, names)):
            if not members:
                continue
            answered = {name: set(_known(folder / f"{name}.jsonl")) for name in members}
            known = set.intersection(*answered.values())
            job.run.claim(*(f"{ANSWERS}/{name}.jsonl" for name in members))
            with job.stage(f"answer_{title}", f"answer: {title}") as bar:
                for one in answer_questions(lm, asked, config, stack, known=known, progress=bar):
                    for name, turns in zip(members, one.turns, strict=True):
                        if one.question.id not in answered[name]:  # a kill came between two members
                            _append(folder / f"{name}.jsonl", [answer_row(one.question, name, turns, time.time())])
        job.results()


def run_judge(
    run: Path, config: JudgeConfig, prompts: Prompts, *, reporter: Reporter | None = None
) -> list[dict[str, Any]]:
    """Has every turn of every answer of a run judged; what was judged before is kept.

    Returns:
      Rows by model, category and turn (``soo_jax.tasks.mtbench.score_rows``).

    Raises:
      SooError: the run is none of MT-Bench, or the judge cannot be asked; what was judged until then is kept.
    """
    reporter = reporter or Reporter()
    questions, answers = _answered(run)
    folder = RunFolder.annotate(run)
    place = run / JUDGMENTS
    requests: list[Request] = []
    for name, own in answers.items():
        judged = {(row["question_id"], row["turn"]) for row in _judgments(place / f"{name}.jsonl")}
        for question in questions:
            for turn in range(1, len(own.get(question.id, ())) + 1):
                if (question.id, turn) not in judged:
                    system, prompt = prompts.of(question, own[question.id], turn)
                    requests.append(Request((name, question.id, turn), system, prompt))
    if requests:
        reporter.say(cost(requests, config))
        place.mkdir(exist_ok=True)
        folder.claim(*(f"{JUDGMENTS}/{name}.jsonl" for name in answers))
        bar = reporter.task(f"judge: {config.model}")
        for request, said in judge_all(requests, config, bar):
            name, number, turn = request.name
            row = {"question_id": number, "model": name, "judge": [config.model, prompts.name], "turn": turn}
            row |= {"judgment": said, "score": rating(said), "tstamp": time.time()}
            _append(place / f"{name}.jsonl", [row])
    return scores(run)


def scores(run: Path) -> list[dict[str, Any]]:
    """Rows by model, category and turn of what was judged so far.

    Raises:
      SooError: the run is none of MT-Bench, or nothing was judged.
    """
    questions, answers = _answered(run)
    rows = [row for name in answers for row in _judgments(run / JUDGMENTS / f"{name}.jsonl")]
    if not rows:
        raise SooError(f"{run}: nothing was judged yet; soo mtbench judge {run} does")
    return score_rows(rows, questions)


def _answered(run: Path) -> tuple[list[BenchQuestion], dict[str, dict[int, tuple[str, ...]]]]:
    read_run(run)
    files = sorted((run / ANSWERS).glob("*.jsonl"), key=lambda path: (path.stem != "base", path.stem))
    if not files or not (run / QUESTIONS).is_file():
        raise SooError(f"{run}: holds no answers to MT-Bench; soo mtbench answer makes them")
    return read_questions(run / QUESTIONS), {path.stem: read_answers(path) for path in files}


def _judgments(path: Path) -> list[dict[str, Any]]:
    form = '{"question_id": 81, "model": "base", "turn": 1, "score": 7.0}'
    return read_json_lines(path, dict, form) if _begun(path) else []


def _known(path: Path) -> dict[int, tuple[str, ...]]:
    return read_answers(path) if _begun(path) else {}


def _begun(path: Path) -> bool:
    """Whether the file holds a line; one that was torn when its writer was killed is cut off first."""
    return bool(cut_torn_line(path))


def _append(path: Path, rows: Sequence[dict[str, Any]]) -> None:
    append_whole(path, "".join(json.dumps(row, ensure_ascii=False) + "\n" for row in rows))


def _name(member: dict[str, Any]) -> str:
    """The file of a member, by what sets it apart."""
    return "-".join(f"{name}-{value}" for name, value in member.items()).replace("/", "_")
