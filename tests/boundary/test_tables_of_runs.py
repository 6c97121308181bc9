"""Test that CSV files are measured before they are parsed, so that few bytes never become many cells."""

import os
from contextlib import suppress
from pathlib import Path

import pytest

from headstart.boundary.tables import open_table, read_rows
from headstart.errors import DataError
from headstart.records.predictions import read_class_predictions


def opened(folder: Path, content: bytes, most: int = 10**8, cells: int = 10**6) -> tuple[list[str], int]:
    (folder / "t.csv").write_bytes(content)
    table = open_table(folder, "t.csv", most, cells)
    with table.file as file:
        assert file.tell() == 0
    return list(table.header), table.lines


@pytest.mark.parametrize(
    ("content", "header", "lines"),
    [
        (b"", [], 0),
        (b"a,b", ["a", "b"], 0),
        (b"a,b\n1,2\n3,4\n", ["a", "b"], 2),
        (b"a,b\n1,2\n3,4", ["a", "b"], 2),
        (b"a,b\r\n1,2\r\n,\r\n", ["a", "b"], 2),
        (b'"a\nb",c\n1,2\n', ["a\nb", "c"], 2),
    ],
)
def test_whole_tables(content: bytes, header: list[str], lines: int, tmp_path: Path) -> None:
    assert opened(tmp_path, content) == (header, lines)


@pytest.mark.parametrize(
    ("content", "why"),
    [
        (b"a,b\n\0\n", "it holds a NUL byte"),
        (b"a,b\n" + b"x" * 3 * 2**20, "it has a line of more than 1 MB"),
        (b"a," * 30_000 + b"\n", "it has 30,001 columns, more than 25,000"),
        (b"a," * 1000 + b"\n" + b"1\n" * 900, "not all of its 901 lines have 1,001 columns"),
        (b"a," * 1000 + b"\n" + b"1\n" * 9000, "it has 9,001 lines of 1,001 columns, more than the limit"),
        (b'"' + b"x" * 200_000, r"field larger than field limit \(131072\)"),
    ],
)
def test_damaged_tables(content: bytes, why: str, tmp_path: Path) -> None:
    with pytest.raises(DataError, match=rf"^t\.csv cannot be read \({why}\)$"):
        opened(tmp_path, content)
    with pytest.raises(DataError, match=r"^t\.csv "):
        read_rows(tmp_path, "t.csv")
    with pytest.raises(DataError, match=r"^t\.csv "):
        read_class_predictions(tmp_path / "t.csv")


def test_files_are_closed(tmp_path: Path) -> None:
    before = len(os.listdir("/proc/self/fd"))  # noqa: PTH208
    for content in (b"a\n\0", b"a\n1\n"):
        (tmp_path / "t.csv").write_bytes(content)
        for _ in range(5):
            with suppress(DataError):
                read_rows(tmp_path, "t.csv")
    assert len(os.listdir("/proc/self/fd")) == before  # noqa: PTH208
