"""Check event files of a run directory before TensorBoard, which follows links and trusts lengths, reads them."""

import os
import struct
from pathlib import Path

from headstart.boundary.opening import GB, MB, open_inside, unreadable
from headstart.records.names import TENSORBOARD_FOLDER

MOST_EVENTS, LONGEST_RECORD, MOST_RECORDS, MOST_FILES = GB, 64 * MB, 1_000_000, 10_000


def check_events(directory: Path) -> None:
    """Raise DataError if a run directory has no event files, or files that TensorBoard cannot read safely.

    The folder may hold only folders and regular files, and no record longer than ``LONGEST_RECORD``.
    """
    waiting, seen = [TENSORBOARD_FOLDER], 0
    if Path(directory, TENSORBOARD_FOLDER).is_symlink():
        raise unreadable(TENSORBOARD_FOLDER, "it is a link")
    while waiting:
        folder = waiting.pop()
        try:
            with os.scandir(directory / folder) as listed:
                entries = list(listed)
        except OSError as error:
            raise unreadable(folder, error.strerror or error) from None
        seen += len(entries)
        if seen > MOST_FILES:
            raise unreadable(TENSORBOARD_FOLDER, f"it holds more than {MOST_FILES:,} files")
        for entry in entries:
            name = f"{folder}/{entry.name}"
            if entry.is_symlink():
                raise unreadable(name, "it is a link")
            if entry.is_dir(follow_symlinks=False):
                waiting.append(name)
            else:
                _check_records(directory, name)


def _check_records(directory: Path, name: str) -> None:
    """Check the length of each record. A record is 8 bytes of length, 4 of checksum, the content, 4 of checksum."""
    with open_inside(directory, name, MOST_EVENTS) as file:
        if "tfevents" not in name:
            return
        for _ in range(MOST_RECORDS):
            start = file.read(12)
            if len(start) < 12:
                return
            (length,) = struct.unpack("<Q", start[:8])
            if length > LONGEST_RECORD:
                raise unreadable(name, f"it has a record of {length:,} bytes")
            file.seek(length + 4, os.SEEK_CUR)
    raise unreadable(name, f"it has more than {MOST_RECORDS:,} records")
