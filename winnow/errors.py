"""The one exception that a person is meant to read."""


class InputError(ValueError):
    """A bad input in one line: the file or key, the value that is wrong, the remedy.

    Stages and commands print the message alone, without a traceback, and exit non-zero.
    """
