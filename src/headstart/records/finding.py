"""Find run directories and sweeps below a folder. Links to folders are not followed, so the search ends."""

import os
from collections.abc import Iterable, Iterator
from pathlib import Path

from headstart.boundary.opening import is_inside
from headstart.errors import DataError
from headstart.records.names import RUN_FILE, SWEEP_FILE
from headstart.records.outcomes import read_outcomes


def homes_below(folder: Path, hidden: bool = True) -> Iterator[tuple[str, Path]]:
    """Yield "run" or "sweep", and the directory, for each one at or below a folder. Run directories hold no others.

    A folder that cannot be listed counts as a run: reading it then says why. ``hidden`` folders may be left out.
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
        if RUN_FILE in names:
            yield "run", Path(place)
            continue
        if SWEEP_FILE in names:
            yield "sweep", Path(place)
        waiting += [
            entry.path
            for entry in entries
            if (hidden or not entry.name.startswith(".")) and entry.is_dir(follow_symlinks=False)
        ]


def find_run_directories(paths: Iterable[Path | str]) -> list[Path]:
    """Return the directories with a run.json at or under the paths, each real directory once, sorted.

    Runs that a sweep skipped count as its runs: they had finished in another folder before. Raises DataError for a path
    that does not exist.
    """
    found: set[Path] = set()
    for given in paths:
        path = Path(given)
        path = path.parent if path.name == RUN_FILE and path.is_file() else path
        for kind, home in homes_below(existing(path, given)):
            found.update([home.resolve()] if kind == "run" else _left_elsewhere(home))
    return sorted(found)


def find_homes(folders: Iterable[Path]) -> tuple[list[Path], list[Path]]:
    """Return the run directories, and the folders of sweeps, at or below the folders, each once, sorted.

    Hidden folders are left out. Raises DataError for a folder that does not exist.
    """
    found: dict[str, set[Path]] = {"run": set(), "sweep": set()}
    for given in folders:
        for kind, home in homes_below(existing(given, given).resolve(), hidden=False):
            found[kind].add(home)
    return sorted(found["run"]), sorted(found["sweep"])


def existing(path: Path, given: Path | str) -> Path:
    """Return a path that is a folder. Raises DataError, which names the path as it was ``given``, for any other."""
    if not path.is_dir():
        raise DataError(f"There is no folder '{given}'; expected one that holds runs (folders with a {RUN_FILE}).")
    return path


def _left_elsewhere(sweep: Path) -> Iterator[Path]:
    """Yield where the finished runs are that a sweep skipped."""
    for outcome in read_outcomes(sweep):
        if outcome.word == "skipped" and outcome.directory and is_inside(Path(outcome.directory), RUN_FILE):
            yield Path(outcome.directory).resolve()
