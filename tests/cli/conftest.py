"""The program, called in this process: the exit code, and what it printed."""

from typing import NamedTuple

import pytest

from soo_jax.cli import run
from tests.llm.judge_server import Judge

SECRET = "sk-very-secret"


class Printed(NamedTuple):
    code: int
    out: str
    err: str

    @property
    def complaint(self) -> str:
        """The one line on stderr of a run that was refused."""
        assert self.code == 2, self
        assert self.err.endswith("\n") and self.err.count("\n") == 1, self.err
        assert self.err.startswith("soo: error: ")
        return self.err


@pytest.fixture
def soo(capsys):
    """Calls ``soo`` with these arguments."""

    def call(*arguments) -> Printed:
        capsys.readouterr()
        code = run([str(argument) for argument in arguments])
        return Printed(code, *capsys.readouterr())

    return call


@pytest.fixture
def refused(soo, tmp_path):
    """Calls ``soo``, expects one line of complaint and no output folder; returns the line."""

    def call(*arguments) -> str:
        out = tmp_path / "out"
        complaint = soo(*arguments, "--out", out).complaint
        assert not out.exists(), "nothing had begun, so nothing may be left behind"
        assert not [path for path in tmp_path.iterdir() if path.name.endswith(".part")]
        return complaint

    return call


@pytest.fixture
def judge(monkeypatch):
    """A judge with moods, and words of its own if need be; the environment points at it."""
    made = []

    def make(*moods, **words):
        made.append(Judge(moods, **words))
        monkeypatch.setenv("OPENAI_BASE_URL", made[-1].address)
        monkeypatch.setenv("OPENAI_API_KEY", SECRET)
        return made[-1]

    yield make
    for one in made:
        one.server.shutdown()
        one.server.server_close()
