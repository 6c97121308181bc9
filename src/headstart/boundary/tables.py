"""Check CSV files of a run directory before they are parsed, because a few bytes can make a parser use much memory."""

import csv
import io
from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import IO

from headstart.boundary.opening import GB, MB, open_inside, read_text_inside, unreadable

CHUNK = MB
MOST_COLUMNS = 25_000
MOST_CURVE, CURVE_CELLS = 16 * MB, 1_000_000
MOST_PREDICTIONS, PREDICTION_CELLS = GB, 52_000_000  # 50,000 images of 1,000 classes: 400 MB of probabilities


@dataclass(frozen=True)
class OpenTable:
    """An open CSV file at its first byte, with its header and number of lines. The caller closes ``file``."""

    file: IO[bytes]
    header: Sequence[str]
    lines: int  # below the header; a row takes one line or more


def open_table(directory: Path, name: str, most: int, most_cells: int) -> OpenTable:
    """Open a CSV file of a run directory whose size, lines, columns and cells are within the limits.

    Cells are counted as lines times columns. Each cell takes at least a byte, so more cells than bytes mean incomplete
    rows, which a parser would fill with empty cells. Raises MissingFileError if there is no such file, DataError for
    anything else.
    """
    file = open_inside(directory, name, most)
    try:
        header = _header(file.read(2 * CHUNK), name)
        file.seek(0)
        lines = size = 0
        last = b"\n"
        while chunk := file.read(CHUNK):
            if b"\0" in chunk:
                raise unreadable(name, "it holds a NUL byte")
            found = chunk.count(b"\n")
            if not found and len(chunk) == CHUNK:
                raise unreadable(name, "it has a line of more than 1 MB")
            lines, size, last = lines + found, size + len(chunk), chunk[-1:]
            if size > most:
                raise unreadable(name, "it grew while it was read")
        lines += last != b"\n"
        cells = lines * max(1, len(header))
        if cells > most_cells:
            raise unreadable(name, f"it has {lines:,} lines of {len(header):,} columns, more than the limit")
        if cells > size + lines:
            raise unreadable(name, f"not all of its {lines:,} lines have {len(header):,} columns")
        file.seek(0)
    except OSError as error:
        file.close()
        raise unreadable(name, error.strerror or error) from None
    except BaseException:
        file.close()
        raise
    return OpenTable(file, header, max(0, lines - 1))


def read_rows(directory: Path, name: str) -> list[dict[str, str]]:
    """Return the rows of a small CSV file of a run directory as mappings. Raises as ``open_table`` does."""
    open_table(directory, name, MOST_CURVE, CURVE_CELLS).file.close()
    text = read_text_inside(directory, name, MOST_CURVE)
    try:
        return list(csv.DictReader(io.StringIO(text, newline="")))
    except csv.Error as error:
        raise unreadable(name, error) from None


def _header(start: bytes, name: str) -> list[str]:
    try:
        header = next(csv.reader(io.StringIO(start.decode("utf-8", errors="replace"), newline="")), [])
    except csv.Error as error:
        raise unreadable(name, error) from None
    if len(header) > MOST_COLUMNS:
        raise unreadable(name, f"it has {len(header):,} columns, more than {MOST_COLUMNS:,}")
    return header
