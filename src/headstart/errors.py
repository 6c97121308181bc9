"""Errors that a user can act on: one sentence each, shown without a traceback, exit code 2."""

import difflib
from collections.abc import Iterable
from pathlib import Path


class HeadstartError(Exception):
    """Something the user asked for cannot be done; the message says what, and what would be valid."""


class ConfigError(HeadstartError):
    """A setting, or a combination of settings, is wrong."""


class CrashError(HeadstartError):
    """The machine failed a run, not its settings: memory, disk, a dead process. It may be tried again.

    Unless it is ``lasting``: then it would fail in the same way.
    """

    def __init__(self, message: str, lasting: bool = False) -> None:
        super().__init__(message)
        self.lasting = lasting


class Pruned(HeadstartError):  # noqa: N818 - it ends a run, and is none
    """A trial of a search was ended early, as others did better; no failure."""


class RunError(Exception):
    """A run began and failed; its cause says why."""

    def __init__(self, directory: Path) -> None:
        super().__init__(str(directory))
        self.directory = directory


class DataError(HeadstartError):
    """A data set is missing, damaged or does not fit its settings."""


class WeightsError(HeadstartError):
    """A weights file is missing, unreadable or does not fit its backbone."""


def nearest(name: object, options: Iterable[str], limit: int = 20) -> str:
    """What to append to "there is no X": the closest valid name, else the list of valid names."""
    choices = [str(option) for option in options]
    close = difflib.get_close_matches(str(name), choices, n=1)
    if close:
        return f" Did you mean '{close[0]}'?"
    if not choices:
        return ""
    more = f", and {len(choices) - limit} more" if len(choices) > limit else ""
    return f" Choose one of: {', '.join(choices[:limit])}{more}."
