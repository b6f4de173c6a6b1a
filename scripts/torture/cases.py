"""What is tortured: small runs of the program, what they need, and in what they must be equal."""

from __future__ import annotations

import hashlib
import json
import os
import shutil
import signal
import subprocess
import sys
from contextlib import suppress
from dataclasses import dataclass
from functools import cached_property
from pathlib import Path
from typing import Any

from soo_jax.errors import SooError
from soo_jax.models.lm import organism_folder
from soo_jax.runs import STATES_FOLDER, read_run
from soo_jax.tasks import organism
from soo_jax.tasks.records import write_pairs, write_scenarios
from tests.tasks.checkout import write_checkout

ROOT = Path(__file__).parents[2]
LEFT_OUT = ("log.txt", "status.json", "report.html")
FIELD_LEFT_OUT = {"results.json": "timings", "config.json": "provenance"}
"""Files that hold times, or how a run came about, and what does so in others."""
_SWEEP = """
[finetune]
epochs = 2
seeds = [0]
checkpoint_every = 10
[vary]
layer = [0, 1]
[measure]
families = ["burglar", "self"]
n = 4
"""
_AGENTS = [f"--set={name}" for name in ("environments=8", "minibatches=2", "hidden=[8]", "follower.iterations=5")]
_AGENTS += ["--preset", "trusting-red", "--episodes", "4", "--quiet"]


@dataclass(frozen=True)
class Case:
    """A command.

    Attributes:
      name: in the record. arguments: with ``IN`` for the folder of inputs and ``OUT`` for the run.
      resumes: whether it has ``--resume``; what has not is run again. a_run: whether OUT is a run folder.
      states: where below OUT its checkpoints are named by numbers, if it saves any.
    """

    name: str
    arguments: str
    resumes: bool = True
    a_run: bool = True
    states: str | None = None

    def command(self, inputs: Path, out: Path, *more: str) -> list[str]:
        """What is typed."""
        told = [part.replace("IN/", f"{inputs}/").replace("OUT", str(out)) for part in self.arguments.split()]
        return [*told, *more]


CASES = (
    Case(
        "fine-tuning",
        "finetune IN/model --pairs IN/pairs.jsonl --seed 0,1 --epochs 6 --checkpoint-every 10 --quiet --out OUT",
        states=STATES_FOLDER,
    ),
    Case("sweep", "sweep IN/model --config IN/sweep.toml --keep-adapters --quiet --out OUT"),
    Case(
        "RL training",
        f"rl train {' '.join(_AGENTS)} --seed 0 --condition deceptive --set=iterations=60 "
        "--checkpoint-every 5 --out OUT",
        states=f"{STATES_FOLDER}/agents",
    ),
    Case(
        "RL sweep",
        f"rl sweep {' '.join(_AGENTS)} --vary world.sight=0.3,0.6 --vary finetune.soo_weight=0,10 --seed 0,1 "
        "--set=iterations=4 --stack 4 --checkpoint-every 1 --out OUT",
    ),
    Case(
        "evaluation",
        "eval IN/model --adapter IN/adapters/seed-0 --adapter IN/adapters/seed-1 --scenarios IN/scenarios.jsonl "
        "--temperature 1 --batch-size 16 --quiet --out OUT",
    ),
    Case("conversion", "convert IN/model OUT --dtype int8", resumes=False, a_run=False),
    Case("import-reference", "import-reference IN/checkout --out OUT", resumes=False),
)


@dataclass(frozen=True)
class Done:
    """A process that ended: its code, what it said, and what its tally counted (nothing if it was killed)."""

    code: int
    said: str
    tally: dict[str, Any]

    @property
    def refused(self) -> bool:
        """Whether it ended with exit code 2 and one line of complaint, behind lines of notes and warnings."""
        *notes, last = self.said.splitlines() or [""]
        told = all(line.startswith("soo: ") and not line.startswith("soo: error: ") for line in notes)
        return self.code == 2 and told and last.startswith("soo: error: ")

    @property
    def killed(self) -> bool:
        """Whether it was killed."""
        return self.code == -signal.SIGKILL


class Bench:
    """A folder in which cases are run.

    Attributes:
      place: the folder; inputs lie in ``inputs``, undisturbed runs in ``whole``, each other run in a folder of its own.
    """

    def __init__(self, place: Path):
        self.place, self._count = place.resolve(), 0
        self.inputs = self.place / "inputs"
        self._whole: dict[str, Whole] = {}

    def prepare(self) -> None:
        """Writes inputs: the packaged organism, its pairs and scenarios, two adapters, a checkout of our own texts."""
        shutil.copytree(organism_folder(), self.inputs / "model")
        pack = organism.pack(self.inputs / "model")
        write_pairs(self.inputs / "pairs.jsonl", pack.pairs(False))
        write_scenarios(self.inputs / "scenarios.jsonl", pack.scenarios(None, 4, 0, "test"))
        (self.inputs / "sweep.toml").write_text(_SWEEP)
        write_checkout(self.inputs / "checkout")
        done = self.soo(CASES[0].command(self.inputs, self.place / "tuned"))
        if done.code:
            raise SystemExit(done.said)
        shutil.copytree(self.place / "tuned" / "adapters", self.inputs / "adapters")

    def fresh(self, case: Case) -> Path:
        """An output folder that is not there yet, in a folder of its own."""
        self._count += 1
        folder = self.place / f"{self._count:03d} {case.name}".replace(" ", "-")
        folder.mkdir()
        return folder / "out"

    def soo(self, command: list[str], plan: dict[str, Any] | None = None, kill_after: float | None = None) -> Done:
        """Runs the program in a process of its own; ``plan`` as in ``scripts.torture.child``."""
        tally = self.place / "tally.json"
        tally.unlink(missing_ok=True)
        told = {"place": str(self.place / "nowhere"), "do": "", **(plan or {}), "tally": str(tally)}
        child = [sys.executable, "-m", "scripts.torture.child", json.dumps(told), *command]
        process = subprocess.Popen(
            child, cwd=ROOT, env=dict(os.environ), stdout=subprocess.DEVNULL, stderr=subprocess.PIPE, text=True
        )
        try:
            said = process.communicate(timeout=kill_after or 600)[1]
        except subprocess.TimeoutExpired:
            process.send_signal(signal.SIGKILL)
            said = process.communicate()[1]
        return Done(process.returncode, said, json.loads(tally.read_text()) if tally.is_file() else {})

    def go_on(self, case: Case, out: Path, plan: dict[str, Any] | None = None, kill_after: float | None = None) -> Done:
        """What a user does after a run was stopped: resumes it, or begins again where nothing can be resumed."""
        more = ["--force"] if out.exists() and any(out.iterdir()) else []
        if case.a_run:
            try:
                state = read_run(out).state
            except SooError:  # nothing had begun
                state = None
            if state == "complete":  # stopped while its report was drawn
                return self.soo(["report", str(out)], plan, kill_after)
            more = ["--resume"] if state and case.resumes else more
        return self.soo(case.command(self.inputs, out, *more), plan, kill_after)

    def whole(self, case: Case) -> Whole:
        """The undisturbed run of a case, made once; what is compiled for it was compiled by a run before."""
        if case.name not in self._whole:
            both = []
            for _ in range(2):
                out = self.fresh(case)
                done = self.soo(case.command(self.inputs, out), {"place": str(out.parent)})
                if done.code:
                    raise SystemExit(f"{case.name}: {done.said}")
                both.append(Whole(out, done.tally))
            if both[0].content != both[1].content:
                raise SystemExit(f"{case.name}: two undisturbed runs differ: {self.place}")
            self._whole[case.name] = both[1]
        return self._whole[case.name]

    def lost(self, case: Case, out: Path) -> list[str]:
        """Files in which a run differs from the undisturbed one, and what was left lying about."""
        wanted, found = self.whole(case).content, content(out)
        differing = sorted(name for name in wanted | found if wanted.get(name) != found.get(name))
        if case.a_run and json.loads((out / "status.json").read_text())["state"] != "complete":
            differing.append("it is incomplete")
        return differing + [f"left behind: {path.name}" for path in out.parent.iterdir() if path != out]


@dataclass(frozen=True)
class Whole:
    """An undisturbed run: its folder, its files by their hashes, and its tally."""

    out: Path
    tally: dict[str, Any]

    @cached_property
    def content(self) -> dict[str, str]:
        """What it wrote."""
        return content(self.out)


def content(out: Path) -> dict[str, str]:
    """Hashes of all files of a run but those in ``LEFT_OUT``."""
    found = {}
    for path in sorted(out.rglob("*")):
        name = str(path.relative_to(out))
        if path.is_file() and name not in LEFT_OUT:
            raw = path.read_bytes()
            with suppress(ValueError):  # damaged: other than any that is whole
                if path.suffix == ".safetensors":  # its writer puts what it is told about a file in any order
                    size = 8 + int.from_bytes(raw[:8], "little")
                    raw = json.dumps(json.loads(raw[8:size]), sort_keys=True).encode() + raw[size:]
                elif (field := FIELD_LEFT_OUT.get(name)) is not None:
                    raw = json.dumps({k: v for k, v in json.loads(raw).items() if k != field}).encode()
            found[name] = hashlib.sha256(raw).hexdigest()
    return found
