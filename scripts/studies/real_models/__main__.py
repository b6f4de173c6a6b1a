"""Makes organisms of real models, finds where they decide, applies SOO beside its controls, and writes the page.

python -m scripts.studies.real_models teach runs/real qwen05     # fetches the base, teaches it (SmolLM2's ships)
python -m scripts.studies.real_models run runs/real smollm2 qwen05   # goes on where it stopped
python -m scripts.studies.real_models again runs/real smollm2 qwen05 # two more organisms of each, and SOO on them
python -m scripts.studies.real_models page runs/real             # writes the pages in docs/records
python -m scripts.studies.real_models ship runs/real smollm2     # puts an organism's adapter into the package
"""

from __future__ import annotations

import argparse
import hashlib
import shutil
import sys
from collections.abc import Sequence
from pathlib import Path

from scripts.studies.real_models.page import page
from scripts.studies.real_models.seeds_page import seeds_page
from scripts.studies.real_models.subjects import AGAIN, SEEDS, SUBJECTS, SWEEPS, Subject
from soo_jax.errors import SooError
from soo_jax.files import write_atomically
from soo_jax.llm.organisms import ORGANISMS
from soo_jax.models.pretrained import fetch
from soo_jax.runs import read_run

PAGE = Path(__file__).parents[3] / "docs" / "records" / "real_models.md"
HERE = Path(__file__).parent
"""Where the settings of sweeps lie."""
ANSWERS = ("--max-new-tokens", "16", "--batch-size", "64", "--quiet")
UNMEASURED = ("--no-margins", "--no-honesty", "--tasks", "narrow", "--batch-size", "64", "--quiet")
TEST = (*ANSWERS, "--no-margins", "--no-honesty", "--tasks", "narrow")
FEW = "burglar,name_objective_action,self,friend,factual,perspectives"
CONTROLS = ("--seed", "0", "--strengths", "1", "--families", FEW, "--tasks", "narrow")


def main(arguments: list[str]) -> int:
    """Does what it is asked; returns the exit code."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("what", choices=("teach", "run", "again", "page", "ship"))
    parser.add_argument("out", type=Path, help="folder of all runs")
    parser.add_argument("subjects", nargs="*", choices=[*SUBJECTS, []], help="all, unless given")
    parser.add_argument("--page", type=Path, default=PAGE, help="the page to write")
    options = parser.parse_args(arguments)
    try:
        if options.what == "page":
            write_atomically(options.page, page(options.out))
            if any((options.out / name / "again").is_dir() for name in SUBJECTS):
                write_atomically(options.page.with_name("organism_seeds.md"), seeds_page(options.out))
            return 0
        do = {"teach": teach, "run": run_all, "again": again, "ship": ship}[options.what]
        return next((code for name in options.subjects or SUBJECTS if (code := do(options.out / name, name))), 0)
    except SooError as error:
        print(error, file=sys.stderr)
        return 2


def teach(out: Path, name: str, seed: int = 0) -> int:
    """Makes the organism in as many goes as it takes, and the model with its adapter added in.

    Args:
      seed: 0 is the organism of the study; others draw other scenes and begin with another adapter.
    """
    subject = SUBJECTS[name]
    base, before = _base(subject), []
    for i, options in enumerate(subject.taught(seed)):
        go = out / f"teach-{i}"
        # An attempt that falls short by its rule is measured like any other: code 0.
        if code := _soo(go, ["organism", base, *options, *before, "--n", "15", "--quiet"]):
            return code
        before = ["--adapter", str(next((go / "adapters").iterdir()))]
    if (out / "model").is_dir():
        return 0
    from soo_jax.cli import run

    return run(["merge", base, *before, "--out", str(out / "model")])


def run_all(out: Path, name: str) -> int:
    """Everything in its order; what is complete is not done again. Returns the first exit code that is not 0."""
    subject = SUBJECTS[name]
    if subject.shipped is None and (code := teach(out, name)):
        return code
    organism = subject.shipped or str(out / "model")
    test, first = ("--n", str(subject.n), *TEST), ("--seed", subject.seeds[0])
    tune = ["finetune", organism, *subject.tuned(out), "--quiet"]
    steps: list[tuple[str, list[str]]] = [
        ("base", ["eval", _base(subject), *test]),
        ("before", ["eval", organism, *test]),
        ("layers", ["layers", organism, *subject.diagnosis(0)]),
        ("soo", [*tune, "--seed", subject.seeds]),
        ("soo-eval", ["eval", organism, "--adapter", str(out / "soo"), "--no-base", *test]),
        ("plain", [*tune, *first, "--lead", ""]),
        ("plain-eval", ["eval", organism, "--adapter", str(out / "plain"), "--no-base", *test]),
        (
            "controls",
            [
                "controls",
                organism,
                "--config",
                str(out / "soo" / "config.json"),
                *CONTROLS,
                *subject.controls,
                *ANSWERS,
            ],
        ),
    ]
    sentence = ("--suffix", "i_would", "--n", subject.controls[1], "--max-new-tokens", "48", *UNMEASURED)
    tuned = str(out / "soo" / "adapters" / f"seed-{subject.seeds[0]}")
    steps += [
        ("reasons", ["eval", organism, *sentence]),
        ("reasons-soo", ["eval", organism, "--adapter", tuned, "--no-base", *sentence]),
    ]
    for step, (settings, tasks, _) in SWEEPS.items():
        if (file := HERE / settings.format(name)).is_file():
            steps.append((step, ["sweep", organism, "--config", str(file), "--tasks", tasks, "--quiet"]))
    return next((code for step, command in steps if (code := _soo(out / step, command))), 0)


def again(out: Path, name: str) -> int:
    """More organisms of the same base, taught with other seeds; each is asked more, looked through, and given SOO.

    The organism of the study is asked as much. SOO is applied where it was chosen for that one: whether that carries
    over is the question. Where it did not, it is applied elsewhere as well.
    """
    subject = SUBJECTS[name]
    for seed in (0, *SEEDS):
        place = out / AGAIN / f"seed-{seed}"
        if seed:
            place.mkdir(parents=True, exist_ok=True)
            if code := teach(place, name, seed):
                return code
        organism = str(place / "model") if seed else subject.shipped or str(out / "model")
        more, test = ("--n", str(subject.more), *TEST), ("--n", str(subject.n), *TEST)
        steps: list[tuple[str, list[str]]] = [("before", ["eval", organism, *more])]
        if seed:
            steps += [("layers", ["layers", organism, *subject.diagnosis(seed)])]
        for soo, layers in subject.places(seed).items():
            steps += [
                (soo, ["finetune", organism, *subject.tuned(place, layers), "--quiet", "--seed", "0"]),
                (f"{soo}-eval", ["eval", organism, "--adapter", str(place / soo), "--no-base", *test]),
            ]
        if code := next((code for step, command in steps if (code := _soo(place / step, command))), 0):
            return code
    return 0


def ship(out: Path, name: str) -> int:
    """Copies the adapter of a shipped organism with its card into the package, its weights in float16."""
    import numpy as np
    from safetensors.numpy import load_file, save_file

    subject = SUBJECTS[name]
    if subject.shipped is None:
        raise SooError(f"{name}: its organism does not ship")
    adapter = next((out / f"teach-{len(subject.teaching) - 1}" / "adapters").iterdir())
    place, weights = ORGANISMS[subject.shipped].adapter, "adapter_model.safetensors"
    place.mkdir(parents=True, exist_ok=True)
    halves = {key: value.astype(np.float16) for key, value in load_file(adapter / weights).items()}
    save_file(halves, place / weights, metadata={"format": "pt"})
    for file in ("adapter_config.json", "soo_adapter.json"):
        shutil.copyfile(adapter / file, place / file)
    card = (adapter / "README.md").read_text(encoding="utf-8")
    shipped = hashlib.sha256((place / weights).read_bytes()).hexdigest()
    (place / "README.md").write_text(f"{card}\nIt ships in float16: sha256 `{shipped}`.\n", encoding="utf-8")
    return 0


def _base(subject: Subject) -> str:
    return str(fetch(subject.base, lambda line: print(line, file=sys.stderr)))


def _soo(out: Path, command: Sequence[str]) -> int:
    from soo_jax.cli import run

    if (out / "status.json").is_file() and read_run(out).complete:
        return 0
    print("soo", *command, "--out", out, flush=True)
    begun = (
        ["--resume"]
        if out.is_dir() and command[0] in ("organism", "sweep", "layers", "finetune", "eval")
        else ["--force"]
    )
    return run([*command, "--out", str(out), *begun])


if __name__ == "__main__":
    raise SystemExit(main(sys.argv[1:]))
