"""Pickles are read without running anything in them."""

import os
import pickle
import struct

import pytest

from soo_jax.errors import SooError
from soo_jax.pickles import read_pickle


def write(tmp_path, raw):
    path = tmp_path / "one.pkl"
    path.write_bytes(raw)
    return path


@pytest.mark.parametrize("protocol", range(pickle.HIGHEST_PROTOCOL + 1))
def test_plain_values_come_back_under_every_protocol(tmp_path, protocol):
    value = ([{"prompt": "Where?", "n": 3, "share": 0.5}], (True, None), {"a", "b"}, frozenset([1]), 2**70)
    assert read_pickle(write(tmp_path, pickle.dumps(value, protocol))) == value


class _Touches:
    def __init__(self, path):
        self.path = str(path)

    def __reduce__(self):
        return os.mkdir, (self.path,)


class _WithState:
    def __init__(self):
        self.x = 1


class _Listed(list):
    pass


@pytest.mark.parametrize("protocol", range(pickle.HIGHEST_PROTOCOL + 1))
def test_code_in_a_pickle_is_refused_and_not_run(tmp_path, protocol):
    trap = tmp_path / "trap"
    for value in (_Touches(trap), [1, {"deep": (_Touches(trap),)}], _WithState(), _Listed([1]), os.system):
        with pytest.raises(SooError, match=r"one\.pkl: refused, for it"):
            read_pickle(write(tmp_path, pickle.dumps(value, protocol)))
    assert not trap.exists()


HOSTILE = {
    "code behind the name of a set": b"cbuiltins\neval\n(V1\ntR.",
    "a name that is put together on the stack": b"\x80\x04\x8c\x02os\x8c\x06system\x93\x8c\x02id\x85R.",
    "an instance by its old instruction": b"(S'id'\nios\nsystem\n.",
    "a persistent id": b"Pabc\n.",
    "a registered extension": b"\x80\x02\x82\x01.",
    "a place in memory far out": b"\x80\x02]r\xff\xff\xff\x7f.",
    "a set made of what is no list": b"\x80\x02cbuiltins\nset\nK\x01\x85R.",
    "a text of a terabyte": b"\x80\x04\x8d" + struct.pack("<Q", 2**40) + b"short.",
    "a text of a negative length": b"T" + struct.pack("<i", -5) + b"abc.",
    "a number of a million digits": b"I" + b"9" * 1_000_000 + b"\n.",
    "half a pickle": pickle.dumps(["a", "b"])[:-3],
    "an empty file": b"",
    "no pickle at all": b"PK\x03\x04 something else",
    "a list in itself, too deep": b"(" * 200_000 + b"." + b"t" * 200_000,
}


@pytest.mark.parametrize("raw", HOSTILE.values(), ids=HOSTILE)
def test_a_hostile_or_broken_pickle_is_one_clear_line(tmp_path, raw):
    with pytest.raises(SooError) as caught:
        read_pickle(write(tmp_path, raw))
    assert str(caught.value).count("\n") == 0 and "one.pkl" in str(caught.value)


def test_a_missing_pickle_is_one_clear_line(tmp_path):
    with pytest.raises(SooError, match=r"none\.pkl: cannot be read"):
        read_pickle(tmp_path / "none.pkl")
