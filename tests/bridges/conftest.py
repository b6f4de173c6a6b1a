"""The program, as the tests of the command line call it."""

from tests.cli.conftest import refused, soo

__all__ = ["refused", "soo"]
