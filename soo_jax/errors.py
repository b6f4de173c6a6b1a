"""The one exception that a user's mistake raises."""


class SooError(Exception):
    """Bad input. The message is one line: the file or setting, what is wrong, and what would be right.

    The command line prints it and exits with code 2; nothing has been half-written when it is raised.
    """
