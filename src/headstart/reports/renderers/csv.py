"""Render tables as CSV: values in full, with column names for programs."""

from __future__ import annotations

from typing import TYPE_CHECKING

from headstart.report_table import ReportTable
from headstart.tables import csv_cell

if TYPE_CHECKING:
    import pandas as pd


def csv_table(table: ReportTable) -> str:
    """Return the columns that have a field as CSV text."""
    import pandas as pd

    fields = [(place, column) for place, column in enumerate(table.columns) if column.field]
    rows = [
        {
            column.field: row[place].text if column.shown and column.kind == "text" else row[place].value
            for place, column in fields
        }
        for row in table.rows
    ]
    return csv_frame(pd.DataFrame(rows))


def csv_frame(frame: pd.DataFrame) -> str:
    """Return a data frame as CSV text, without cells that a spreadsheet takes for formulas."""
    return frame.map(csv_cell).rename(columns=csv_cell).to_csv(index=False)
