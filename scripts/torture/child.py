"""The program ``soo`` in a process to which something happens: ``python -m scripts.torture.child PLAN ARGUMENTS...``.

PLAN is a JSON object: ``place`` (a folder), ``do`` (what happens), ``at`` (at which of the events below, from 1), or
``when`` and ``count`` (as soon as so many paths match a pattern), and ``tally`` (where to write how many events there
were, and after how many seconds the first one came).

An event is whatever Python does to a file below ``place``: it opens one to write, renames, removes or makes one. Every
moment between two writes is thus a moment at which something can happen; it happens before the event.
"""

from __future__ import annotations

import glob
import json
import os
import resource
import signal
import subprocess
import sys
import time
from pathlib import Path
from typing import Any

BEGAN = time.monotonic()
_WRITES = os.O_WRONLY | os.O_RDWR | os.O_CREAT
_CHANGES = ("os.rename", "os.remove", "os.rmdir", "os.mkdir", "os.truncate", "shutil.rmtree")


def happen(plan: dict[str, Any]) -> None:
    """Does what the plan says: ``kill``, ``limit`` (files to ``bytes``), ``lock`` (it), ``take`` (``folder``)."""
    match plan["do"]:
        case "kill":
            os.kill(os.getpid(), signal.SIGKILL)
        case "limit":
            resource.setrlimit(resource.RLIMIT_FSIZE, (plan["bytes"], resource.RLIM_INFINITY))
        case "lock":
            subprocess.run(["mount", "-o", "remount,ro", plan["place"]], check=False)
        case "take":
            os.rename(plan["folder"], plan["folder"] + ".taken")


def watch(plan: dict[str, Any]) -> None:
    """Counts events, and lets what is planned happen once."""
    seen = {"events": 0, "begin": None, "done": False}
    place = os.path.realpath(plan["place"])

    def note(event: str, arguments: tuple[Any, ...]) -> None:
        writes = event == "open" and isinstance(arguments[2], int) and arguments[2] & _WRITES
        if seen["done"] or not (writes or event in _CHANGES):
            return
        names = [os.fsdecode(one) for one in arguments[:2] if isinstance(one, str | bytes | os.PathLike)]
        if not any(f"{name}/".startswith(f"{place}/") for name in names):
            return
        seen["events"] += 1
        seen["begin"] = seen["begin"] or time.monotonic() - BEGAN
        matched = "when" in plan and len(glob.glob(plan["when"])) >= plan["count"]
        if matched or seen["events"] == plan.get("at"):
            seen["done"] = True
            happen(plan)

    sys.addaudithook(note)
    if "tally" in plan:
        import atexit

        tell = lambda: Path(plan["tally"]).write_text(json.dumps({**seen, "seconds": time.monotonic() - BEGAN}))
        atexit.register(tell)


if __name__ == "__main__":
    watch(json.loads(sys.argv[1]))
    from soo_jax.cli import main

    main(sys.argv[2:])
