"""Test work that is divided among processes."""

import errno

import pytest

from headstart.comparison.processes import shared


class FontPath(str):
    """A file name that cannot be unpickled."""

    __slots__ = ("number",)

    def __new__(cls, name: str, number: int) -> "FontPath":
        path = super().__new__(cls, name)
        path.number = number
        return path


def test_an_error_comes_back_with_file_names_of_any_kind() -> None:
    def fail(number: int) -> int:
        if number == 1:
            raise OSError(errno.EMFILE, "Too many open files", FontPath("a.ttf", 0))
        return number

    with pytest.raises(OSError, match="Too many open files") as told:
        shared(fail, 4, "working", "items")
    assert told.value.filename == "a.ttf"


def test_answers_are_in_order() -> None:
    assert shared(lambda number: number * number, 5, "working", "items") == [0, 1, 4, 9, 16]
