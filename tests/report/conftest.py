"""One realistic run, drawn once for all tests of the report."""

import pytest

from report.synthetic import write_run


@pytest.fixture(scope="session")
def run_path(tmp_path_factory):
    return write_run(tmp_path_factory.mktemp("runs") / "organism-soo")


@pytest.fixture(scope="session")
def page(run_path):
    from soo_jax.report.html import write_report

    return write_report([run_path]).read_text(encoding="utf-8")
