"""Several CPU devices get threads enough: on fewer, two collectives of one program can wait for each other for ever."""

import os
import subprocess
import sys

import pytest

from soo_jax.threads import make_room_for_forced_devices

COUNT = "import soo_jax, jax, os; jax.devices(); print(len(os.listdir('/proc/self/task')))"


@pytest.mark.parametrize(
    ("told", "room"),
    [
        ({"XLA_FLAGS": "--xla_a=1 --xla_force_host_platform_device_count=8"}, 64),
        ({"JAX_NUM_CPU_DEVICES": "16"}, 128),
        ({"XLA_FLAGS": "--xla_force_host_platform_device_count=1"}, None),
        ({}, None),
        ({"XLA_FLAGS": "--xla_force_host_platform_device_count=8", "NPROC": "100"}, 100),
        ({"XLA_FLAGS": "--xla_force_host_platform_device_count=8", "NPROC": "8"}, 64),
    ],
)
def test_room_is_made_for_devices_that_are_asked_for_unless_there_is_more(monkeypatch, told, room):
    for name in ("XLA_FLAGS", "JAX_NUM_CPU_DEVICES", "NPROC"):
        monkeypatch.delenv(name, raising=False)
    for name, value in told.items():
        monkeypatch.setenv(name, value)
    make_room_for_forced_devices()
    assert os.environ.get("NPROC") == (None if room is None else str(room))


@pytest.mark.skipif(not os.path.isdir("/proc/self/task"), reason="threads are counted where Linux lists them")
def test_a_process_that_imports_the_library_has_eight_threads_for_each_cpu_device():
    flags = {"XLA_FLAGS": "--xla_force_host_platform_device_count=8", "JAX_PLATFORMS": "cpu"}
    environment = {name: value for name, value in os.environ.items() if name != "NPROC"} | flags
    done = subprocess.run([sys.executable, "-c", COUNT], capture_output=True, text=True, env=environment, check=True)
    assert int(done.stdout) >= 64
