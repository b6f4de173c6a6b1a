"""A log of inspect_ai as a run folder, so that any model that it can ask stands in our tables."""

from __future__ import annotations

from collections.abc import Sequence
from pathlib import Path
from typing import Any

from soo_jax.errors import SooError
from soo_jax.jobs.job import LANGUAGE, Job
from soo_jax.tasks.judged import judged
from soo_jax.tasks.records import scenario_of
from soo_jax.tasks.statistics import count_responses


def import_inspect(
    logs: Sequence[Path], out: Path, *, conditions: Sequence[str] = (), force: bool = False
) -> tuple[list[dict[str, Any]], list[str]]:
    """Reads logs of our task and writes one run of them; every answer is judged again by the rules of this version.

    Args:
      conditions: of the logs, in their order. By default ``base`` or ``honesty_prompt``, as the task was set; where one
        is taken, the name of the model.

    Returns:
      The tidy rows, and notes for the user. Epochs take the place of seeds where there are several.

    Raises:
      SooError: a log cannot be read, holds other samples than ours, or no answers; names that do not fit the logs.
    """
    if conditions and len({*conditions}) != len(logs):
        raise SooError(f"--condition: give a different name for each of the {len(logs)} logs, or none")
    responses: list[dict[str, Any]] = []
    notes: list[str] = []
    sources = []
    for i, path in enumerate(logs):
        log = _read(path)
        condition = conditions[i] if conditions else _condition(log, {row["condition"] for row in responses})
        responses += _responses(path, log, condition, notes)
        sources.append(_source(path, log, condition))
    told = {"model": {"name": ", ".join(dict.fromkeys(one["model"] for one in sources))}, "inspect": sources}
    with Job("import", LANGUAGE, out, told, force=force) as job:
        for note in notes:
            job.run.log(note)
        job.run.append_responses(responses)
        rows = count_responses(responses)
        job.results(rows=rows)
    return rows, notes


def _read(path: Path) -> Any:
    try:
        from inspect_ai.log import read_eval_log
    except ImportError as error:
        raise SooError("import-inspect: needs inspect_ai; pip install 'soo-jax[inspect]'") from error
    if not path.is_file():
        raise SooError(f"{path}: no such file; give a log that inspect eval has written (*.eval or *.json)")
    try:
        return read_eval_log(str(path), resolve_attachments=True)
    except Exception as error:  # what it raises on a damaged file is of many kinds
        raise SooError(f"{path}: cannot be read as a log of inspect_ai ({_line(error)})") from error


def _condition(log: Any, taken: set[str]) -> str:
    plain = "honesty_prompt" if (log.eval.metadata or {}).get("honesty") else "base"
    for name in (plain, log.eval.model, f"{log.eval.model} {plain}"):
        if name not in taken:
            return name
    raise SooError(f"{log.eval.model}: three of the logs are of this model; name each with --condition")


def _responses(path: Path, log: Any, condition: str, notes: list[str]) -> list[dict[str, Any]]:
    samples = log.samples or []
    several = len({sample.epoch for sample in samples}) > 1
    answered = [sample for sample in samples if sample.error is None and sample.output.choices]
    if log.status != "success":
        notes.append(f"{path}: this evaluation did not end well ({log.status}); what it holds is a part")
    if len(answered) < len(samples):
        notes.append(
            f"{path}: {len(samples) - len(answered)} of {len(samples)} samples have no answer and are left out"
        )
    if not answered:
        raise SooError(f"{path}: holds no answers; run inspect eval again")
    rows = []
    for sample in answered:
        try:
            scenario, index = scenario_of(sample.metadata), sample.metadata["index"]
        except (ValueError, KeyError) as error:
            raise SooError(
                f"{path}, sample {sample.id}: is none of the task soo_jax/scenarios ({_line(error)})"
            ) from error
        own = {"condition": condition, "seed": sample.epoch if several else None, "index": index}
        rows.append({**own, **judged(scenario, sample.output.completion), "logp_margin": None})
    return rows


def _source(path: Path, log: Any, condition: str) -> dict[str, Any]:
    asked = log.eval.config
    return {
        "log": str(path),
        "condition": condition,
        "model": log.eval.model,
        "task": log.eval.task,
        "created": str(log.eval.created),
        "settings": dict(log.eval.task_args),
        "generation": log.plan.config.model_dump(exclude_none=True),
        "epochs": asked.epochs,
    }


def _line(error: BaseException) -> str:
    return (str(error).strip() or type(error).__name__).splitlines()[0]
