"""Test tables as data: rows and columns are chosen, and each format shows the same cells."""

import csv
import io

import pytest

from headstart.report_table import Cell, Column, ReportTable
from headstart.reports.renderers.csv import csv_table
from headstart.reports.renderers.latex import latex_table
from headstart.reports.renderers.markdown import markdown_table
from headstart.reports.renderers.text import text_table

COLUMNS = [
    Column("row", field="row"),
    Column("test (%)", "number", field="accuracy"),
    Column("runs", "number"),
    Column("level", field="level", shown=False),
]
TABLE = ReportTable(
    "t",
    "Title",
    "Note.",
    COLUMNS,
    [
        [Cell("=a*b|c"), Cell("90.0 ± 1.5", 0.9, bold=True), Cell("3", 3), Cell("", 0.95)],
        [Cell("d_e"), Cell("50.0 ± –", 0.5), Cell("1", 1), Cell("", None)],
        [Cell("pixels"), Cell("–", float("nan")), Cell("0", 0), Cell("", 0.95)],
    ],
    lower=2,
)


def test_columns_and_rows_are_chosen() -> None:
    assert TABLE.names == ["row", "test (%)", "runs"]
    assert TABLE.without("runs").renamed("row", "strategy").names == ["strategy", "test (%)"]
    assert TABLE.where("runs", "1").texts == [["d_e", "50.0 ± –", "1"]]
    assert TABLE.first(1).note == "Note. 2 more rows are in t.csv."
    assert TABLE.first(3) == TABLE


def test_text_shows_what_people_see() -> None:
    lines = text_table(TABLE).splitlines()
    assert [line.split() for line in (lines[0], *lines[2:])] == [
        ["row", "test", "(%)", "runs"], ["=a*b|c", "90.0", "±", "1.5", "3"], ["d_e", "50.0", "±", "–", "1"],
        ["pixels", "–", "0"],
    ]  # fmt: skip


def test_markdown_is_aligned_and_escaped() -> None:
    lines = markdown_table(TABLE).splitlines()
    assert len({len(line) for line in lines}) == 1
    assert lines[1] == "| -------- | -------------: | ---: |"
    assert lines[2] == r"| =a\*b\|c | **90.0 ± 1.5** |    3 |"


def test_latex_has_mathematics_and_a_rule_above_the_lower_part() -> None:
    lines = latex_table(TABLE, "Made by hand").splitlines()
    assert lines[:2] == ["% Note.", "% Made by hand"]
    assert r"\begin{tabular}{lrr}" in lines
    body = lines[lines.index(r"\midrule") + 1 : lines.index(r"\bottomrule")]
    assert body == [
        r"=a{*}b\textbar{}c & $\mathbf{90.0} \pm 1.5$ & 3 \\", r"d\_e & $50.0$ & 1 \\", r"\midrule",
        r"pixels & -- & 0 \\",
    ]  # fmt: skip


def test_csv_has_values_of_fields_and_no_formula() -> None:
    rows = list(csv.DictReader(io.StringIO(csv_table(TABLE))))
    assert rows == [
        {"row": "'=a*b|c", "accuracy": "0.9", "level": "0.95"},
        {"row": "d_e", "accuracy": "0.5", "level": ""},
        {"row": "pixels", "accuracy": "", "level": "0.95"},
    ]


def test_a_row_of_other_length_is_refused() -> None:
    with pytest.raises(ValueError, match="'t' has 4 columns, but a row of 1"):
        ReportTable("t", "", "", COLUMNS, [[Cell("x")]])
