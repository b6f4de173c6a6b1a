"""The record of several organisms of one base: what each does before SOO and after, and where each decides."""

from __future__ import annotations

from pathlib import Path

from scripts.studies.real_models.layers_page import TOGETHER, TRAINED, found_by, together_table, trained_table
from scripts.studies.real_models.subjects import AGAIN, SEEDS, SUBJECTS, Subject
from scripts.studies.tables import SHARES, complete, made, shares, table
from soo_jax.runs import Run


def seeds_page(out: Path) -> str:
    """The record page, of the subjects and seeds that were taught again and given SOO.

    Raises:
      SooError: a run of one of them is missing or incomplete.
    """
    parts = [
        "# Organisms of other seeds: the record",
        "Written by `python -m scripts.studies.real_models page runs/real`; what it means is said in "
        "[real_models.md](../real_models.md). Seed 0 is the organism of the study; the others were taught by the same "
        f"commands with other seeds, which draw other scenes and another adapter. Test split. {SHARES}",
    ]
    for name, subject in SUBJECTS.items():
        if (out / name / AGAIN).is_dir():
            parts += _subject(out / name, subject)
    return "\n\n".join(parts) + "\n"


def _subject(out: Path, subject: Subject) -> list[str]:
    place = lambda seed, step: out / AGAIN / f"seed-{seed}" / step
    seeds = [seed for seed in SEEDS if place(seed, "soo-eval").is_dir()]
    before = {f"seed {seed}": complete(place(seed, "before")) for seed in (0, *seeds)}
    after = {
        f"seed {seed}" if layers == subject.layers else f"seed {seed}, at {layers}": complete(
            place(seed, f"{soo}-eval")
        )
        for seed in (0, *seeds)
        for soo, layers in subject.places(seed).items()
    }
    parts = [
        f"## {subject.title}",
        made(before["seed 0"]),
        f"### As taught, n = {subject.more} in each order",
        _answers(before),
        f"### After SOO, n = {subject.n} in each order",
        f"At layers {subject.layers}, seed 0 (`soo finetune MODEL {' '.join(subject.tuned(Path()))}`); *at*: at other "
        "layers. What the first do to seed 0 stands in [real_models.md](real_models.md).",
        _answers(after),
        "Ordinary texts (KL is to the organism):",
        _drift(before, after),
        f"### Where each decides, and what SOO does there\n\n{TOGETHER}\n\n{TRAINED}",
    ]
    for seed in (0, *seeds):
        run = complete(place(seed, "layers") if seed else out / "layers")
        found = found_by(run)
        parts += [f"Seed {seed}. {found.advice}", together_table(found), *([trained_table(run)] if run.rows else [])]
    return parts


def _answers(runs: dict[str, Run]) -> str:
    families = list(dict.fromkeys(row["family"] for run in runs.values() for row in run.rows))
    return table(
        ("family", *runs), ((family, *(shares(run.rows, family) for run in runs.values())) for family in families)
    )


def _drift(before: dict[str, Run], after: dict[str, Run]) -> str:
    told = []
    for title, runs in (("as taught", before), ("after SOO", after)):
        for name, run in runs.items():
            told += [
                (f"{name}, {title}", f"{row['perplexity']:.1f}", f"{row['kl']:.4f}", f"{100 * row['top1']:.1f} %")
                for row in run.drift
            ]
    return table(("model", "perplexity", "KL", "same first choice"), told)
