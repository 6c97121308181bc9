"""Test tables in terminals of any width, and cells of CSV files that spreadsheets open unchanged."""

import csv
import io

import pandas as pd
import pytest
from hypothesis import example, given
from hypothesis import strategies as st

from headstart.tables import csv_cell, table_text, terminal_width

STARTS = "=+-@\t\r\n"


@pytest.mark.parametrize("text", ["=1+1", "+a", "-stage1", "@x", "\tx", "\rx", "\n=x", "'=x", "-inf", "-", "=2", "1-1"])
def test_only_numbers_begin_like_a_formula(text: str) -> None:
    cell = csv_cell(text)
    assert cell == (text if text == "1-1" else f"'{text}")


@pytest.mark.parametrize("value", [-0.5, 3, None, True, "-0.5", "+3", "-1e-4", "-.5", "5.", "finetune_all", "a=b", ""])
def test_numbers_and_plain_words_stay(value: object) -> None:
    assert csv_cell(value) == value


@given(st.text() | st.builds("{}{}".format, st.sampled_from([*STARTS, "'=", "''-"]), st.text()))
def test_a_reader_gets_the_text_back(text: str) -> None:
    cell = csv_cell(text)
    assert isinstance(cell, str)
    if cell[:1] in STARTS and cell:
        assert float(cell) is not None
    back = cell[1:] if cell != text else cell
    assert back == text
    changed = cell.startswith("'") and csv_cell(cell) != cell
    assert changed == (cell != text), "the cell alone says whether an apostrophe was added"


def test_numbers_in_a_file_are_read_as_numbers() -> None:
    file = io.StringIO()
    csv.writer(file).writerows([["x", "name"], list(map(csv_cell, [-0.5, "-a"])), list(map(csv_cell, ["-1.5", "b"]))])
    table = pd.read_csv(io.StringIO(file.getvalue()))
    assert table["x"].tolist() == [-0.5, -1.5]
    assert table["name"].tolist() == ["'-a", "b"]


CELLS = st.lists(
    st.tuples(st.text("abc [],_", max_size=60), st.text("0123456789.", min_size=1, max_size=12)), min_size=1
)


@given(CELLS, st.integers(20, 120))
@example([("[[[[[[[[[[,", "0")], 21)
def test_a_table_fits_and_loses_nothing(rows: list[tuple[str, str]], width: int) -> None:
    lines = table_text(["setting", "number"], rows, [False, True], width).splitlines()
    number = max(len("number"), *(len(cell) for _, cell in rows))
    if width >= number + 10 + 6:
        assert max(map(len, lines)) <= width
    whole = "".join(lines)
    for text, value in rows:
        assert value in whole
        assert all(letter in whole for letter in text)


def test_a_pipe_has_no_width() -> None:
    assert terminal_width() is None
