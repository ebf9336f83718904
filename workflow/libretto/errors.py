"""Errors users can fix, shown in one line without a traceback."""


class InputError(ValueError):
    """Bad input or configuration. The message says what is wrong, where, and what to do."""
