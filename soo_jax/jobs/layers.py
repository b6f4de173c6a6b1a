"""The job behind ``soo layers``: where a model decides whom it tells the truth, and what SOO there does to it."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import asdict, fields
from pathlib import Path
from typing import Any

from soo_jax.errors import SooError
from soo_jax.jobs.job import LANGUAGE, Job
from soo_jax.jobs.language import pack_of, training_pairs
from soo_jax.jobs.sweep import SAME_WORK, Sweep, Work, rows_of, sweep_of, train_cells
from soo_jax.llm.config import FinetuneConfig
from soo_jax.llm.grid import SAME, fates
from soo_jax.llm.layers import Diagnosis, aligned, diagnose_layers, told_fates
from soo_jax.models.lm import LM
from soo_jax.progress import Reporter
from soo_jax.runs import read_run

ALL = "all"
ADVICE = "advice.txt"


def layers_to_train(text: str, count: int) -> list[int | list[int]]:
    """What ``--train`` names: ``all`` (each layer alone), or layers and, joined by ``+``, layers trained together.

    Args:
      count: layers of the model.

    Raises:
      SooError: something that is no layer of the model.
    """
    if text == ALL:
        return list(range(count))
    named = [part.split("+") for part in text.split(",")]
    for own in named:
        if any(not layer.isdigit() or int(layer) >= count for layer in own):
            raise SooError(
                f"train {'+'.join(own)!r}: is no layer of this model, which has 0 to {count - 1}; "
                f"give {ALL}, or layers such as 4,5,4+5"
            )
    return [int(own[0]) if len(own) == 1 else [int(layer) for layer in own] for own in named]


def training_of(layers: Sequence[int | list[int]], start: FinetuneConfig, n: int) -> Sweep:
    """SOO at each of the layers, adapters in them alone, asked ``n`` validation questions a family and order.

    Raises:
      SooError: no questions, or whatever is wrong with the settings.
    """
    if n < 1:
        raise SooError(f"n must be at least 1, found {n}")
    common = {"lora": {"layers": SAME}}
    measure = {"n": n, "split": "validation", "base": True, "margins": False}
    return sweep_of({"finetune": common, "vary": {"layer": list(layers)}, "measure": measure}, start)


def diagnosis_of(out: Path, known: dict[str, Any]) -> Diagnosis:
    """What was kept of a diagnosis in a run folder. Raises SooError where another version has kept something else."""
    if known.keys() != {field.name for field in fields(Diagnosis)}:
        raise SooError(
            f"{out}: another version looked at these layers, and told other things of them; go on with that "
            "version, or begin anew (--force in place of --resume)"
        )
    return Diagnosis(**known)


def advised_by(folder: Path) -> tuple[tuple[int, ...], str]:
    """The layers that a diagnosis advises, and the fingerprint of the model that it looked into.

    Args:
      folder: a complete run of :func:`run_layers`.

    Raises:
      SooError: it is no such run, or advises no layer.
    """
    run = read_run(folder)
    if run.config.get("job") != "layers":
        raise SooError(f"{folder}: is no diagnosis of layers; give the run folder that soo layers has written")
    if not run.complete:
        raise SooError(f"{folder}: this diagnosis is not complete; go on with it by soo layers --resume first")
    if not all("advised" in row for row in run.layers):
        raise SooError(f"{folder}: an earlier version looked at these layers, and marks none; run soo layers again")
    try:
        layers, of = (
            tuple(int(row["layer"]) for row in run.layers if row["advised"]),
            run.config["model"]["fingerprint"],
        )
    except (KeyError, TypeError, ValueError) as error:
        raise SooError(f"{folder}: config.json or results.json is damaged ({error}); run soo layers again") from error
    if not layers:
        raise SooError(f"{folder}: this diagnosis advises no layer ({ADVICE} says why); name layers with --layer")
    return layers, of


def run_layers(
    lm: LM,
    out: Path,
    *,
    scenes: int = 52,
    train: Sweep | None = None,
    pairs_file: Path | None = None,
    tasks: Path | None = None,
    chat: bool | None = None,
    resume: bool = False,
    force: bool = False,
    settings: dict[str, Any] | None = None,
    reporter: Reporter | None = None,
) -> str:
    """What each layer makes of self and other, and which to train.

    Args:
      scenes: of the pack, at most. pairs_file: as for :func:`soo_jax.jobs.language.run_finetune`.
      train: SOO at several layers (:func:`training_of`), each measured in the same way; None trains nothing.
      chat: None: if the model has a template.

    Returns:
      Advice in words.
    """
    if scenes < 1:
        raise SooError(f"layers: scenes must be at least 1, found {scenes}")
    pack = pack_of(lm, tasks)
    chat = lm.has_chat_template if chat is None else chat
    contrasts, pairs, probes = pack.contrasts(scenes), training_pairs(pack, pairs_file, False), pack.probes(False)
    aligned(lm, contrasts, chat)  # refuses what cannot be looked at
    work = None if train is None else Work.of(lm, train, pack, pairs_file, None)
    told = {
        "model": lm.identity, "settings": settings or {}, "dtype": lm.dtype,
        "layers": {"scenes": len(contrasts), "chat": chat, "pairs": len(pairs)}, **(work.told if work else {}),
    }  # fmt: skip
    same = (*SAME_WORK, "layers")
    job = Job("layers", LANGUAGE, out, told, same=same, resume=resume, force=force, reporter=reporter)
    with job:

        def look() -> dict[str, Any]:
            with job.stage("layers") as bar:
                return asdict(diagnose_layers(lm, contrasts, pairs, probes, chat=chat, progress=bar))

        found = diagnosis_of(out, job.once("layers", look))
        advice, tables = found.advice, {}
        if work is not None:
            tables = train_cells(job, lm, work)
            after, base = (rows_of(tables["rows"], condition) for condition in ("soo", "base"))
            names = list(dict.fromkeys(name for cell in work.sweep.cells for name in cell.names))
            came = fates(after, names, pack.controls, base)
            advice += "\n" + told_fates({str(layers).replace(",", "+"): fate for (layers,), fate in came.items()})
        job.run.write_text(ADVICE, advice + "\n")
        rows = [row | {"advised": row["layer"] in found.advised} for row in found.rows]
        job.results(layers=rows, **tables)
    return advice
