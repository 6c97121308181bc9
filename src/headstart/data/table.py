"""Read a CSV file with a header into rows of cells; refuse other files and say how to correct them."""

import csv
import io
import re
from collections import Counter
from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path

from headstart.errors import DataError, nearest
from headstart.files import printable
from headstart.inputs.found import image_suffixes
from headstart.settings.split_names import split_of, words_of

DELIMITERS = (",", ";", "\t", "|")
# Words in the name of a column that probably holds splits.
LIKE_SPLITS = frozenset("split splits subset partition set fold phase usage".split())


@dataclass(frozen=True)
class ListTable:
    """The header and the rows of a CSV file. A row is the number of its last line, and its cells, stripped."""

    file: Path
    header: list[str]
    rows: list[tuple[int, list[str]]]

    def column(self, setting: str, name: str) -> int:
        """Return the index of a column. Raises DataError if ``find`` finds none; ``setting`` names the column."""
        place = self.find(setting, name)
        if place is None:
            raise DataError(
                f"'{self.file}' has no column '{name}'; its header reads '{', '.join(self.header)}'."
                + (self._hint(name) or f" Name the column with {setting}=NAME.")
            )
        return place

    def find(self, setting: str, name: str) -> int | None:
        """Return the index of a column, or None. An exact match wins; otherwise case and spaces are ignored.

        Raises DataError if several columns match then.
        """
        if name in self.header:
            return self.header.index(name)
        alike = [place for place, one in enumerate(self.header) if _plain(one) == _plain(name)]
        if len(alike) > 1:
            raise DataError(
                f"'{self.file}' has the columns {', '.join(repr(self.header[place]) for place in alike)}; choose one"
                f" with {setting}={self.header[alike[0]]}."
            )
        return alike[0] if alike else None

    def _hint(self, name: str) -> str:
        """Return a hint: the nearest column, or that the file has no header."""
        if any(one.lower().endswith(tuple(image_suffixes())) for one in self.header):
            return " Its first line seems to be an image; write a header such as path,label above it."
        hint = nearest(name, [one for one in self.header if one])
        return hint if hint.startswith(" Did") else ""


def read_table(file: Path) -> ListTable:
    """Return the table in a file. Raises DataError, with the line, if it is not a UTF-8 CSV file with a header."""
    text = _text(file)
    first = next((line for line in text.splitlines() if line.strip()), "")
    delimiter = next((one for one in DELIMITERS if len(next(csv.reader([first], delimiter=one), [])) > 1), ",")
    reader = csv.reader(io.StringIO(text, newline=""), delimiter=delimiter, skipinitialspace=True, strict=True)
    header: list[str] = []
    rows = []
    try:
        for cells in reader:
            row = [cell.strip() for cell in cells]
            if not any(row):
                continue
            if not header:
                header = _header(file, row)
            else:
                rows.append((reader.line_num, _fitting(file, reader.line_num, row, header)))
    except csv.Error as error:
        raise DataError(f"'{file}' is not a CSV file in UTF-8: {error} in line {reader.line_num}.") from error
    if not header:
        raise DataError(f"'{file}' is empty; expected a header such as path,label and a row for each image.")
    return ListTable(file, header, rows)


def like_split(table: ListTable, place: int) -> str:
    """Return the settings that use a column as the split, if its name or its values look like splits; else ""."""
    name = table.header[place]
    values = {row[place] for _, row in table.rows if row[place]}
    if len(values) > 1 and all(split_of(value) for value in values):
        return f"dataset.split_column={name}"
    if values and words_of(name) and set(words_of(name)) <= LIKE_SPLITS:
        return f"dataset.split_column={name} and dataset.splits={{train: VALUE, test: VALUE}}"
    return ""


def _text(file: Path) -> str:
    try:
        content = file.read_bytes()
    except OSError as error:
        raise DataError(f"'{file}' cannot be read: {error.strerror}.") from error
    if content[:2] in (b"\xff\xfe", b"\xfe\xff") or b"\0" in content[:2]:
        raise DataError(f"'{file}' is text in UTF-16; save it as a CSV file in UTF-8.")
    if content[:4] == b"PK\x03\x04" or content[:4] == b"\xd0\xcf\x11\xe0":
        raise DataError(f"'{file}' is a spreadsheet or an archive; save it as a CSV file in UTF-8.")
    try:
        return content.decode("utf-8-sig")
    except UnicodeDecodeError as error:
        line = content[: error.start].count(b"\n") + 1
        raise DataError(f"'{file}' is not a CSV file in UTF-8: see line {line}; save it in UTF-8.") from error


def _header(file: Path, row: Sequence[str]) -> list[str]:
    """Return the names of the columns, without empty ones at the end."""
    header = list(row)
    while header and not header[-1]:
        header.pop()
    doubled = [name for name, count in Counter(header).items() if count > 1 and name]
    if doubled:
        raise DataError(
            f"'{file}' has {Counter(header)[doubled[0]]} columns '{doubled[0]}'; expected one of each name."
        )
    return header


def _fitting(file: Path, line: int, row: list[str], header: Sequence[str]) -> list[str]:
    """Return a row cut to the length of the header. Raises DataError if it is shorter, or longer with filled cells."""
    extra = row[len(header) :]
    if any(extra) or len(row) < len(header):
        shown = printable(", ".join(row))[:80]
        raise DataError(
            f"Line {line} of '{file}' has {len(row)} cells, the header {len(header)}: '{shown}'. Put cells with commas"
            " into double quotes, and write empty cells too."
        )
    return row[: len(header)]


def _plain(name: str) -> str:
    return re.sub(r"\s+", "", name).casefold()
