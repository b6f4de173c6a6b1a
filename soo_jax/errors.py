"""What a user is told: the exception that a mistake raises, and the one warning."""

from __future__ import annotations


class SooError(Exception):
    """Bad input. The message is one line: the file or setting, what is wrong, and what would be right.

    The command line prints it and exits with code 2; nothing has been half-written when it is raised.
    """


class StorageError(SooError):
    """What should be written cannot be, or what was written does not come back as it was."""


class SooWarning(UserWarning):
    """Something that is done otherwise than the user may think. One line, which the command line prints."""
