"""The one exception that a person is meant to read, and how a command ends with it."""

from __future__ import annotations

import sys
from collections.abc import Callable


class InputError(ValueError):
    """A bad input in one line: the file or key, the value that is wrong, the remedy.

    Stages and commands print the message alone, without a traceback, and exit non-zero.
    """


def exit_code(command: Callable[[], str]) -> int:
    """Run a command and print what it returns: 0, or 1 with one line on stderr where it raises InputError."""
    try:
        print(command())
    except InputError as error:
        print(error, file=sys.stderr)
        return 1
    return 0
