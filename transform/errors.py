"""The errors a user can cause: each is one line that says what, where and what to do."""


class CtnetError(Exception):
    """A failure that needs no traceback: its text is all a user has to read."""


class ConfigError(CtnetError):
    """The configuration or the command line cannot be used (exit code 2)."""


class StorageError(CtnetError):
    """A disk is full, or a folder takes nothing (exit code 1: no configuration is wrong)."""


class BadDataError(CtnetError):
    """The data would mislead training, so the run stops (exit code 4)."""
