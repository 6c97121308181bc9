"""Hash the names, labels, splits and contents of a data set, but not its path."""

import hashlib
import os
import time
from collections.abc import Callable, Mapping, Sequence
from pathlib import Path
from typing import Any

from headstart.inputs.collection import Collection, Undecoded, joined
from headstart.inputs.decoding import UnreadableError, content_hash, decode_each
from headstart.inputs.facts import Facts, file_state
from headstart.inputs.found import JUST

MOST_HASHED = 200_000  # files whose hash is kept, of about 500 bytes each
_HASHED: dict[tuple[int, int, int, int, str], bytes] = {}


def source_hash(text: Callable[[Any], str], splits: Mapping[str, Collection], facts: Facts) -> str:
    """Return a hash of a data set, 64 hex digits. It does not depend on the path of the images.

    File names are relative to the folder that contains all files. Files are read only if a name, size or time has
    changed since their hash was stored. ``text`` returns the label of a target.
    """
    labels = [
        f"{split}\0{text(target)}\0{group}"
        for split, items in splits.items()
        for target, group in zip(items.targets, items.groups or [""] * len(items), strict=True)
    ]
    everything = joined(list(splits.values()))
    files = []
    for image in everything.images:
        if not isinstance(image, Path):
            return _digest(labels, everything.ids, everything.images)
        files.append(image)
    return files_hash(files, facts, labels)


def files_hash(files: Sequence[Path], facts: Facts, labels: Sequence[str] | None = None) -> str:
    """Return the hash of files, 64 hex digits; ``labels`` are texts to hash with the files, one for each."""
    labels = labels or [""] * len(files)
    paths = [os.path.abspath(file) for file in files]  # noqa: PTH100  # keep the name of a link
    above = os.path.commonpath({os.path.dirname(path) for path in paths}) if paths else ""  # noqa: PTH120
    names = [path[len(above) :].lstrip(os.sep) for path in paths]
    entries = zip(labels, names, map(file_state, paths), strict=True)
    stamp = hashlib.sha256(os.fsencode("".join(f"{label}\0{name}\0{state}\0" for label, name, state in entries)))
    known = facts.get(stamp.hexdigest())
    if known is None:
        known = _digest(labels, names, files)
        facts.put(stamp.hexdigest(), known)
    return known


def contents_of(images: Sequence[Undecoded], what: str) -> list[bytes]:
    """Return the hash of each image; ``what`` names them in the progress. Raises UnreadableError.

    A file is not read again if its size and times are those that it had when this process hashed it.
    """
    now = time.time_ns()
    states = [_state(image) if isinstance(image, Path) else None for image in images]
    known = [_HASHED.get(state) if state is not None else None for state in states]
    hashes = [one for one in known if one is not None]
    if len(hashes) < len(known):
        hashes = list(decode_each(lambda index: content_hash(images[index]), len(images), f"hashing {what}"))
        if len(_HASHED) > MOST_HASHED:
            _HASHED.clear()
        fresh = zip(states, hashes, strict=True)
        _HASHED.update({state: one for state, one in fresh if state is not None and max(state[1:3]) < now - JUST})
    return hashes


def _state(path: Path) -> tuple[int, int, int, int, str] | None:
    """Return size, times, number and path of a file; None if it cannot be found."""
    try:
        state = os.stat(path)  # noqa: PTH116  # faster than Path.stat, for 50,000 files
    except OSError:
        return None
    return state.st_size, state.st_mtime_ns, state.st_ctime_ns, state.st_ino, str(path)


def _digest(labels: Sequence[str], names: Sequence[str], images: Sequence[Undecoded]) -> str:
    def one(index: int) -> bytes:
        try:
            return content_hash(images[index])
        except UnreadableError as error:
            return f"unreadable: {error}".encode(errors="replace")

    digest = hashlib.sha256()
    contents = decode_each(one, len(images), "hashing images")
    for label, name, content in zip(labels, names, contents, strict=True):
        digest.update(os.fsencode(f"{label}\0{name}\0") + content)
    return digest.hexdigest()
