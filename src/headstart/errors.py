"""Define the errors that users can act on: shown as one sentence, without a traceback, with exit code 2."""

import difflib
from collections.abc import Iterable
from pathlib import Path


class HeadstartError(Exception):
    """A request that cannot be fulfilled; the message says what was wrong and what is valid."""

    def _render_traceback_(self) -> list[str]:
        """Return what a notebook shows instead of a traceback (a protocol of IPython)."""
        return [f"{type(self).__name__}: {self}"]


class ConfigError(HeadstartError):
    """A wrong setting or combination of settings."""


class CrashError(HeadstartError):
    """A failure of the machine (memory, disk, a dead process), not of the settings.

    The run may be tried again, unless the failure is ``lasting``.
    """

    def __init__(self, message: str, lasting: bool = False) -> None:
        super().__init__(message)
        self.lasting = lasting


class Pruned(HeadstartError):  # noqa: N818 - it ends a run, but is not a failure
    """Ends a search trial early because others did better; not a failure."""


class RunError(Exception):
    """A run that failed after it started; ``__cause__`` holds the reason."""

    def __init__(self, directory: Path) -> None:
        super().__init__(str(directory))
        self.directory = directory


class DataError(HeadstartError):
    """A data set that is missing, damaged or does not fit its settings."""


class WeightsError(HeadstartError):
    """A weights file that is missing, unreadable or does not fit its backbone."""


def nearest(name: object, options: Iterable[str], limit: int = 20) -> str:
    """Return the end of a "there is no X" message: the closest valid name, or else all valid names."""
    choices = [str(option) for option in options]
    close = difflib.get_close_matches(str(name), choices, n=1)
    if close:
        return f" Did you mean '{close[0]}'?"
    if not choices:
        return ""
    more = f", and {len(choices) - limit} more" if len(choices) > limit else ""
    return f" Choose one of: {', '.join(choices[:limit])}{more}."
