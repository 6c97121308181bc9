"""A table as data: its texts, sort keys, and the runs behind its cells, independent of any format.

Texts may hold any characters; each renderer escapes them. Numbers that are not finite count as missing.
"""

from __future__ import annotations

import math
from collections.abc import Sequence
from dataclasses import dataclass, replace
from typing import Literal

NOTHING = "–"


@dataclass(frozen=True)
class Column:
    """A column of a table; numbers stand on the right and are sorted as numbers."""

    name: str
    kind: Literal["text", "number"] = "text"
    help: str = ""
    """One sentence that explains the column; may be empty."""
    field: str = ""
    """Its name in the CSV file; empty if the file leaves it out."""
    shown: bool = True
    """Whether people see it; otherwise only the CSV file holds it."""


@dataclass(frozen=True)
class Cell:
    """The text of a cell, its sort key, and the runs behind it."""

    text: str
    value: float | str | None = None
    """Sort key, and value in a CSV file. None means the text in a column of texts, and missing in one of numbers."""
    runs: tuple[int, ...] = ()
    """Positions in Analysis.runs, from 0."""
    bold: bool = False


@dataclass(frozen=True)
class ReportTable:
    """Rows of cells, in the order shown first."""

    id: str
    title: str
    note: str
    columns: Sequence[Column]
    rows: Sequence[Sequence[Cell]]
    lower: int | None = None
    """The first row below a rule, such as the first reference; None without a rule."""

    def __post_init__(self) -> None:
        for row in self.rows:
            if len(row) != len(self.columns):
                raise ValueError(f"Table '{self.id}' has {len(self.columns)} columns, but a row of {len(row)} cells.")

    @property
    def names(self) -> list[str]:
        """Return the names of the shown columns."""
        return [column.name for column in self.columns if column.shown]

    @property
    def numeric(self) -> list[bool]:
        """Return for each shown column whether it holds numbers."""
        return [column.kind == "number" for column in self.columns if column.shown]

    @property
    def cells(self) -> list[list[Cell]]:
        """Return the rows, with the cells of the shown columns only."""
        return [[cell for cell, column in zip(row, self.columns, strict=True) if column.shown] for row in self.rows]

    @property
    def texts(self) -> list[list[str]]:
        """Return the texts of these cells."""
        return [[cell.text for cell in row] for row in self.cells]

    def first(self, count: int) -> ReportTable:
        """Return the table with its first ``count`` rows; the note says how many more the CSV file holds."""
        more = len(self.rows) - count
        note = f"{self.note} {more} more rows are in {self.id}.csv.".strip() if more > 0 else self.note
        return replace(self, note=note, rows=self.rows[:count])

    def where(self, column: str, text: str) -> ReportTable:
        """Return the table with only the rows that have this text in a column."""
        place = [one.name for one in self.columns].index(column)
        return replace(self, rows=[row for row in self.rows if row[place].text == text])

    def without(self, *names: str) -> ReportTable:
        """Return the table without the columns of these names."""
        kept = [place for place, column in enumerate(self.columns) if column.name not in names]
        rows = [[row[place] for place in kept] for row in self.rows]
        return replace(self, columns=[self.columns[place] for place in kept], rows=rows)

    def renamed(self, column: str, name: str) -> ReportTable:
        """Return the table with a column renamed."""
        return replace(self, columns=[replace(one, name=name) if one.name == column else one for one in self.columns])


def share_cell(share: float, runs: tuple[int, ...] = ()) -> Cell:
    """Return the cell of a share in percent; "–" for NaN."""
    return Cell(NOTHING if math.isnan(share) else f"{100 * share:.1f}", share, runs)


def count_cell(count: int, runs: tuple[int, ...] = ()) -> Cell:
    """Return the cell of a whole number."""
    return Cell(str(count), count, runs)
