"""A checkpoint that is not what was written is noticed, named and passed over; what lies before it is used."""

import json
import os
import shutil
import subprocess
import sys
import threading

import jax
import jax.numpy as jnp
import numpy as np
import pytest

from soo_jax import checkpoints
from soo_jax.checkpoints import Checkpoints, steps
from soo_jax.errors import SooError, SooWarning, StorageError

EMPTY = {"x": jnp.zeros(3), "history": {"loss": np.zeros((4, 2), np.float32)}}


def state(step):
    return {"x": jnp.full(3, float(step)), "history": {"loss": np.full((4, 2), step, np.float32)}}


def opened(folder, **identity):
    return Checkpoints(folder, identity or {"a": 1})


@pytest.fixture
def saved(tmp_path):
    """A folder in which steps 10, 20 and 30 were saved."""
    kept = opened(tmp_path / "states")
    for step in (10, 20, 30):
        kept.save(step, state(step))
    kept.close()
    return tmp_path / "states"


def files_of(folder):
    return sorted(path for path in folder.rglob("*") if path.is_file())


def flip(path):
    """Turns one bit in the middle of a file."""
    raw = bytearray(path.read_bytes())
    raw[len(raw) // 2] ^= 1
    path.write_bytes(raw)


def cut(path):
    os.truncate(path, path.stat().st_size // 2)


def test_the_newest_two_are_kept_and_the_newest_is_restored(saved):
    assert steps(saved) == [20, 30]
    assert not [path for path in saved.iterdir() if not path.name.isdigit()]
    found = opened(saved).restore(EMPTY)
    np.testing.assert_array_equal(found["x"], 30.0)
    np.testing.assert_array_equal(found["history"]["loss"], 30.0)


@pytest.mark.parametrize("harm", [flip, cut, os.unlink])
def test_whatever_file_is_damaged_is_noticed_and_the_checkpoint_before_is_used(saved, tmp_path, harm):
    names = [path.relative_to(saved / "30") for path in files_of(saved / "30") if path.stat().st_size]
    assert len(names) > 5
    for i, name in enumerate(names):
        copy = tmp_path / str(i)
        shutil.copytree(saved, copy)
        harm(copy / "30" / name)
        with pytest.warns(SooWarning, match=r"damaged: checkpoint 30 \(") as told:
            found = opened(copy).restore(EMPTY)
        said = str(told[0].message)
        assert str(name) in said and said.endswith("going on from the one before, checkpoint 20") and "\n" not in said
        np.testing.assert_array_equal(found["x"], 20.0)


def test_if_none_is_whole_it_says_so_and_deletes_nothing(saved):
    flip(saved / "30" / "_METADATA")
    flip(saved / "20" / "_METADATA")
    with pytest.raises(StorageError, match=r"nothing to go on from, damaged: checkpoint 30 .*; checkpoint 20 .*"):
        opened(saved).restore(EMPTY)
    assert steps(saved) == [20, 30]


def test_a_damaged_checkpoint_is_replaced_once_its_step_is_reached_again(saved):
    flip(saved / "30" / "_METADATA")
    again = opened(saved)
    with pytest.warns(SooWarning):
        again.restore(EMPTY)
    again.save(25, state(25))
    again.wait()
    assert steps(saved) == [20, 25], "a later one is none of this training"
    again.save(30, state(30))
    np.testing.assert_array_equal(again.restore(EMPTY)["x"], 30.0)


def test_a_forged_identity_is_damage_and_not_another_setting(saved):
    told = json.loads((saved / "30" / "checksums.json").read_text())
    (saved / "30" / "checksums.json").write_text(json.dumps(told | {"identity": {"a": 2}}))
    with pytest.warns(SooWarning, match=r"checkpoint 30 \(checksums.json is missing or damaged\)"):
        opened(saved).restore(EMPTY)


def test_a_checkpoint_without_checksums_is_not_trusted(saved):
    """One that a kill left, or that another program wrote."""
    for step in (20, 30):
        (saved / str(step) / "checksums.json").unlink()
    with pytest.raises(StorageError, match="nothing to go on from"):
        opened(saved).restore(EMPTY)


def test_what_a_kill_left_of_a_save_is_never_used_and_goes_with_the_next_save(saved):
    for half in (".40.part", ".40.part.orbax-checkpoint-tmp"):
        (saved / half).mkdir()
        (saved / half / "rubbish").write_text("half")
    again = opened(saved)
    np.testing.assert_array_equal(again.restore(EMPTY)["x"], 30.0)
    again.save(40, state(40))
    again.wait()
    assert sorted(path.name for path in saved.iterdir()) == ["30", "40"]


def test_a_checkpoint_of_other_settings_is_refused(tmp_path):
    first = opened(tmp_path, rate=1, seeds=[0])
    first.save(1, EMPTY)
    first.close()
    with pytest.raises(SooError, match=r"other settings \(rate\)"):
        opened(tmp_path, rate=2, seeds=[0]).restore(EMPTY)


@pytest.mark.parametrize(
    "like",
    [EMPTY | {"more": np.zeros(1)}, {"x": EMPTY["x"]}, EMPTY | {"x": jnp.zeros(4)}],
    ids=["more", "less", "another_shape"],
)
def test_a_checkpoint_of_a_version_that_kept_other_arrays_is_refused_in_a_line(saved, like):
    with pytest.raises(SooError, match=r"checkpoint 30 was made by another version.*--force") as told:
        opened(saved).restore(like)
    assert "\n" not in str(told.value) and steps(saved) == [20, 30]


def test_a_new_run_forgets_the_states_of_an_old_one(saved):
    again = opened(saved, b=2)
    again.clear()
    assert again.restore(EMPTY) is None and list(saved.iterdir()) == []


@pytest.fixture
def held(monkeypatch):
    """While it is not set, what is written gets no name."""
    let_go = threading.Event()
    sums = checkpoints._sums
    monkeypatch.setattr(checkpoints, "_sums", lambda part: let_go.wait(60) and sums(part))
    yield let_go
    let_go.set()


def test_a_training_goes_on_while_a_state_is_written(tmp_path, held):
    kept = opened(tmp_path)
    kept.save(10, state(10))
    assert steps(tmp_path) == []
    held.set()
    kept.wait()
    assert steps(tmp_path) == [10]


@pytest.mark.parametrize("after", ["save", "restore", "clear", "close"])
def test_whatever_follows_a_save_waits_for_it(tmp_path, held, after):
    kept = opened(tmp_path)
    kept.save(10, state(10))
    threading.Timer(0.1, held.set).start()
    found = {
        "save": lambda: kept.save(20, state(20)),
        "restore": lambda: kept.restore(EMPTY),
        "clear": kept.clear,
        "close": kept.close,
    }[after]()
    assert held.is_set() and (10 in steps(tmp_path)) == (after != "clear")
    if after == "restore":
        np.testing.assert_array_equal(found["x"], 10.0)


def test_what_is_saved_is_the_state_as_it_was_although_it_is_changed_at_once(tmp_path):
    """The next update takes over the memory on the device, and the history is filled in place."""
    kept, later = opened(tmp_path), jax.jit(lambda x: x + 1, donate_argnums=0)
    moving, filled = later(jnp.zeros(3_000_000)), np.zeros(3_000_000, np.float32)
    kept.save(1, {"x": moving, "history": filled})
    for _ in range(20):
        moving = later(moving)
        filled += 1
    found = kept.restore({"x": jnp.zeros(3_000_000), "history": np.zeros(3_000_000, np.float32)})
    np.testing.assert_array_equal(found["x"], 1.0)
    np.testing.assert_array_equal(found["history"], 0.0)


@pytest.mark.parametrize("after", ["save", "wait", "close"])
def test_what_follows_a_save_that_the_disk_refuses_says_so(saved, limited, after):
    """A file may be no larger than 100 kB, and the state needs more."""
    again = opened(saved)
    large = {"x": jnp.asarray(np.random.default_rng(0).normal(size=100_000)), "history": EMPTY["history"]}
    with limited(100_000), pytest.raises(StorageError, match="larger than is allowed here"):
        again.save(40, large)
        {"save": lambda: again.save(50, state(50)), "wait": again.wait, "close": again.close}[after]()
    assert sorted(path.name for path in saved.iterdir()) == ["20", "30"]
    np.testing.assert_array_equal(again.restore(EMPTY)["x"], 30.0)


@pytest.fixture
def limited():
    """A context in which no file can grow beyond a size."""
    import resource
    from contextlib import contextmanager

    @contextmanager
    def limit(size):
        before = resource.getrlimit(resource.RLIMIT_FSIZE)
        resource.setrlimit(resource.RLIMIT_FSIZE, (size, before[1]))
        try:
            yield
        finally:
            resource.setrlimit(resource.RLIMIT_FSIZE, before)

    return limit


def test_what_threads_write_while_a_half_save_is_removed_is_removed_too(saved, monkeypatch):
    """TensorStore goes on for a moment after an array was refused, and makes anew the folders that it misses."""
    part = saved / ".40.part.orbax-checkpoint-tmp"
    late = [threading.Timer(0.02, lambda: (part / "x").mkdir(parents=True))]
    remove = shutil.rmtree

    def removed(path, **options):
        remove(path, **options)
        if late:
            late.pop().start()

    part.mkdir()
    kept = opened(saved)
    monkeypatch.setattr("soo_jax.checkpoints.shutil.rmtree", removed)
    kept.save(40, state(40))
    kept.wait()
    assert late == [] and sorted(path.name for path in saved.iterdir()) == ["30", "40"]


def test_what_a_refused_save_tells_from_its_threads_stays_off_the_screen(tmp_path):
    """The error is raised; reports of the same from loggers and threads would bury its one line."""
    script = (
        "import resource, sys, numpy as np; from soo_jax.checkpoints import Checkpoints\n"
        "from soo_jax.errors import StorageError\n"
        "states = {name: np.random.default_rng(0).normal(size=(1000, 100)) for name in 'abc'}\n"
        "kept = [Checkpoints(sys.argv[1], {}) for _ in range(2)][-1]\n"
        "resource.setrlimit(resource.RLIMIT_FSIZE, (100_000, resource.RLIM_INFINITY))\n"
        "for step in range(5):\n"
        "    try: kept.save(step, states); kept.wait()\n"
        "    except StorageError as error: print(error)\n"
    )
    done = subprocess.run([sys.executable, "-c", script, str(tmp_path)], capture_output=True, text=True, check=False)
    assert done.returncode == 0 and done.stderr == ""
    assert done.stdout.count("larger than is allowed here") == 5 and list(tmp_path.iterdir()) == []
