"""What is done to runs: killed at random, checkpoints and answers damaged, disks full or locked, inputs gone."""

from __future__ import annotations

import os
import random
import shutil
import subprocess
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from dataclasses import dataclass
from functools import partial
from pathlib import Path
from typing import Any

from scripts.torture.cases import CASES, Bench, Case, Done

BACK = "going on from the one before"
"""What a resumed run says where it passes over a damaged checkpoint."""


@dataclass(frozen=True)
class Row:
    """A line of the record.

    Attributes:
      case, harm: what was done to what. times: how often. said: what the program said then, in short.
      lost: what differs from the undisturbed run, or was not as it should be; empty where nothing was lost.
      moments: of kills, so that they can be found again.
    """

    case: str
    harm: str
    times: int
    said: str
    lost: list[str]
    moments: list[str]


# ---- kills ---------------------------------------------------------------------------------------------------------


def kills(bench: Bench, case: Case, times: int, seed: int) -> Row:
    """Kills a run again and again as it is begun and resumed, until it is complete; and begins the next one."""
    draw, moments, lost, runs = random.Random(f"{seed} {case.name}"), [], [], 0
    tally = bench.whole(case).tally
    out, before = bench.fresh(case), 0
    for _ in range(4 * times):
        if len(moments) == times:
            break
        # What goes on has less left to do, the less the more often it was killed.
        left = 1.0 / (1 + before)
        plan: dict[str, Any] = {"place": str(out.parent), "do": "kill"}
        after = None
        if draw.random() < 0.5:
            plan["at"] = draw.randint(1, max(1, round(left * tally["events"])))
            moment = f"event {plan['at']} of {tally['events']}"
        else:
            after = tally["begin"] + draw.random() * left * (tally["seconds"] - tally["begin"])
            moment = f"{after:.1f} of {tally['seconds']:.1f} s"
        done = bench.go_on(case, out, plan, after)
        if done.killed:
            moments.append(moment)
            before += 1
            continue
        runs += 1
        lost += _ended(bench, case, out, done)
        out, before = bench.fresh(case), 0
    if before:
        runs += 1
        lost += _ended(bench, case, out, bench.go_on(case, out))
    return Row(case.name, "killed, and gone on with", len(moments), f"{runs} runs came to their end", lost, moments)


def _ended(bench: Bench, case: Case, out: Path, done: Done) -> list[str]:
    if done.code:
        return [f"exit code {done.code}: {done.said.strip()[-300:]}"]
    return bench.lost(case, out)


# ---- damage --------------------------------------------------------------------------------------------------------


def cut(path: Path) -> None:
    """Leaves the first half of a file."""
    os.truncate(path, path.stat().st_size // 2)


def flip(path: Path) -> None:
    """Turns one bit in the middle of a file."""
    raw = bytearray(path.read_bytes())
    raw[len(raw) // 2] ^= 1
    path.write_bytes(raw)


def damaged_checkpoints(bench: Bench, case: Case, harm: Callable[[Path], None], name: str, every: bool) -> Row:
    """Kills a run that has two checkpoints, and damages the largest file of the newest, or of both."""
    out, lost = bench.fresh(case), []
    states = out / (case.states or "")
    plan = {"place": str(out.parent), "do": "kill", "when": f"{states}/[0-9]*", "count": 2}
    if not bench.soo(case.command(bench.inputs, out), plan).killed:
        lost.append("it was not killed in time")
    steps = sorted((path for path in states.iterdir() if path.name.isdigit()), key=lambda path: int(path.name))
    for step in steps if every else steps[-1:]:
        harm(max((path for path in step.rglob("*") if path.is_file()), key=lambda path: path.stat().st_size))
    done = bench.go_on(case, out)
    if every:
        lost += [] if done.refused and "nothing to go on from" in done.said else [f"not refused: {done.said}"]
        done = bench.soo(case.command(bench.inputs, out, "--force"))
        said = "refused in one line; begun anew with `--force`"
    else:
        lost += [] if done.said.count(BACK) == 1 else [f"not told: {done.said}"]
        said = f"warned in one line, {BACK}"
    return Row(case.name, name, 1, said, lost + _ended(bench, case, out, done), [])


def damaged_answers(bench: Bench, case: Case, harm: Callable[[Path], None], name: str, told: bool) -> Row:
    """Kills an evaluation that has kept answers, and damages the file that holds most of them."""
    out, lost = bench.fresh(case), []
    tally = bench.whole(case).tally
    bench.soo(case.command(bench.inputs, out), {"place": str(out.parent), "do": "kill", "at": tally["events"] // 2})
    harm(max((out / "checkpoints" / "answers").iterdir(), key=lambda path: path.stat().st_size))
    done = bench.go_on(case, out)
    if ("damaged; what they held is done again" in done.said) != told:
        lost.append(f"not told: {done.said}")
    said = "warned in one line, asked again" if told else "asked again"
    return Row(case.name, name, 1, said, lost + _ended(bench, case, out, done), [])


def tear(path: Path) -> None:
    """Leaves half of the last line."""
    raw = path.read_bytes()
    os.truncate(path, (raw[:-1].rfind(b"\n") + len(raw)) // 2)


# ---- disks and inputs ----------------------------------------------------------------------------------------------


def limited(bench: Bench, case: Case) -> Row:
    """No file can grow beyond half of the largest that the run writes; then it can."""
    whole = bench.whole(case).out
    size = max(path.stat().st_size for path in whole.rglob("*") if path.is_file()) // 2
    out = bench.fresh(case)
    plan = {"place": str(out.parent), "do": "limit", "at": 1, "bytes": size}
    return _refused(bench, case, out, plan, "file size limited (`ulimit -f`), then not")


@contextmanager
def small_disk(folder: Path, size: int) -> Iterator[Callable[[str], None]]:
    """A folder that is a disk of so many bytes; gives a function that mounts it again with other options."""
    subprocess.run(["mount", "-t", "tmpfs", "-o", f"size={size}", "tmpfs", str(folder)], check=True)
    again = lambda options: subprocess.run(["mount", "-o", f"remount,{options}", str(folder)], check=True) and None
    try:
        yield again
    finally:
        subprocess.run(["umount", str(folder)], check=True)


def full(bench: Bench, case: Case) -> Row:
    """The disk holds half of what the run writes; then it is larger."""
    size = sum(path.stat().st_size for path in bench.whole(case).out.rglob("*") if path.is_file()) // 2
    out = bench.fresh(case)
    with small_disk(out.parent, size) as again:
        plan = {"place": str(out.parent), "do": ""}
        return _refused(bench, case, out, plan, "disk full, then larger", lambda: again("size=1g"))


def locked(bench: Bench, case: Case, at: float) -> Row:
    """The output folder becomes read-only at some part of all events; then it can be written again."""
    out = bench.fresh(case)
    with small_disk(out.parent, 1 << 30) as again:
        plan = {"place": str(out.parent), "do": "lock", "at": 1 + int(at * (bench.whole(case).tally["events"] - 1))}
        when = f"read-only after {at:.0%} of its writes, then not" if at else "read-only from the start, then not"
        return _refused(bench, case, out, plan, when, lambda: again("rw"))


def taken(bench: Bench, case: Case, at: float) -> Row:
    """All inputs are gone after some part of all events; then they are back."""
    out = bench.fresh(case)
    plan = {"place": str(out.parent), "do": "take", "folder": str(bench.inputs)}
    plan["at"] = 1 + int(at * (bench.whole(case).tally["events"] - 1))
    back = lambda: os.rename(f"{bench.inputs}.taken", bench.inputs)
    return _refused(bench, case, out, plan, f"inputs gone after {at:.0%} of its writes, then back", back, may_end=True)


def _refused(
    bench: Bench,
    case: Case,
    out: Path,
    plan: dict[str, Any],
    harm: str,
    cure: Callable[[], None] = lambda: None,
    may_end: bool = False,
) -> Row:
    """Runs into what is planned, expects one line and exit code 2, cures it, and goes on.

    Args:
      may_end: it may as well come to its end.
    """
    done, lost = bench.soo(case.command(bench.inputs, out), plan), []
    cure()
    if may_end and done.code == 0:
        said = "came to its end"
    else:
        lost = [] if done.refused else [f"exit code {done.code}: {done.said.strip()[-300:]}"]
        said = "refused in one line"
        done = bench.go_on(case, out)
    return Row(case.name, harm, 1, said, lost + _ended(bench, case, out, done), [])


def can_mount(place: Path) -> bool:
    """Whether disks can be mounted here, which takes root."""
    folder = place / "disk"
    folder.mkdir(exist_ok=True)
    tried = subprocess.run(["mount", "-t", "tmpfs", "tmpfs", str(folder)], capture_output=True, check=False)
    if tried.returncode == 0:
        subprocess.run(["umount", str(folder)], check=True)
    return tried.returncode == 0


def harms(bench: Bench) -> Iterator[tuple[Case, partial[Row]]]:
    """All that is done beside kills."""
    by_name = {case.name: case for case in CASES}
    for case in (case for case in CASES if case.states):
        for harm, name, every in (
            (cut, "newest checkpoint cut in half", False),
            (flip, "one bit of the newest checkpoint turned", False),
            (flip, "one bit of every checkpoint turned", True),
        ):
            yield case, partial(damaged_checkpoints, bench, case, harm, name, every)
    evaluation = by_name["evaluation"]
    yield evaluation, partial(damaged_answers, bench, evaluation, tear, "last line of the kept answers torn", False)
    yield evaluation, partial(damaged_answers, bench, evaluation, flip, "one bit of the kept answers turned", True)
    mounts = shutil.which("mount") is not None and can_mount(bench.place)
    for case in CASES:
        if "sweep" not in case.name:  # these write what the others write
            yield case, partial(limited, bench, case)
        if mounts:
            yield case, partial(full, bench, case)
            yield from ((case, partial(locked, bench, case, at)) for at in _LOCKED.get(case.name, ()))
        if case.name in _TAKEN:
            yield case, partial(taken, bench, case, 0.5)


_LOCKED = {"fine-tuning": (0.6,), "RL training": (0.6,), "evaluation": (0.0, 0.6), "conversion": (0.6,)}
_TAKEN = ("fine-tuning", "evaluation", "conversion", "import-reference")
HARMS = tuple(one.__name__ for one in (kills, damaged_checkpoints, damaged_answers, limited, full, locked, taken))
"""What can be chosen by name."""
