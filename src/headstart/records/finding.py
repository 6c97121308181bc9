"""Find run directories and sweeps below a folder; links to folders are not followed, so that there is an end."""

import os
from collections.abc import Iterator
from pathlib import Path

from headstart.records.manifest import MANIFEST

SWEEP = "sweep.json"


def homes_below(folder: Path, hidden: bool = True) -> Iterator[tuple[str, Path]]:
    """Yield "run" or "sweep", and the directory, for each one at or below a folder; nothing is looked for in a run.

    A folder that cannot be listed counts as a run, so that reading it says why. ``hidden`` folders may be left out.
    """
    waiting = [os.fspath(folder)]
    while waiting:
        place = waiting.pop()
        try:
            with os.scandir(place) as listed:
                entries = list(listed)
        except FileNotFoundError:  # removed meanwhile
            continue
        except OSError:
            yield "run", Path(place)
            continue
        names = {entry.name for entry in entries}
        if MANIFEST in names:
            yield "run", Path(place)
            continue
        if SWEEP in names:
            yield "sweep", Path(place)
        waiting += [
            entry.path
            for entry in entries
            if (hidden or not entry.name.startswith(".")) and entry.is_dir(follow_symlinks=False)
        ]
