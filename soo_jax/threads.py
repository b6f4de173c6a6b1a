"""Threads enough for several CPU devices in one process, or in processes that wait for one another.

XLA runs all CPU devices of a process on one pool, by default with no more threads than there are cores or devices. A
device takes up several collectives of a program at once, each of which holds a thread until all devices have come to
it. So on a small pool some devices can wait in one collective and the others in another, for ever; more threads end
that. XLA reads the size of its pool from ``NPROC`` when JAX first asks for its devices.
"""

from __future__ import annotations

import os
import re

_EACH = 8  # collectives that a device takes up at once, generously


def make_room(devices: int) -> None:
    """Asks for threads for so many CPU devices of this process; a larger size that is set stays.

    A smaller one does not: it may come from a process with fewer devices that has started this one.
    """
    told, least = os.environ.get("NPROC", ""), max(_EACH * devices, os.cpu_count() or 1)
    if not told.isdigit() or int(told) < least:
        os.environ["NPROC"] = str(least)


def make_room_for_forced_devices() -> None:
    """Asks for threads where ``XLA_FLAGS`` or ``JAX_NUM_CPU_DEVICES`` wants more than one CPU device."""
    flags = re.findall(r"--xla_force_host_platform_device_count=(\d+)", os.environ.get("XLA_FLAGS", ""))
    wanted = max(map(int, [*flags, *re.findall(r"^\d+$", os.environ.get("JAX_NUM_CPU_DEVICES", ""))]), default=1)
    if wanted > 1:
        make_room(wanted)
