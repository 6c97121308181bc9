"""Render tables as text for the terminal."""

from headstart.report_table import ReportTable
from headstart.tables import table_text, terminal_width


def text_table(table: ReportTable, width: int | None = None) -> str:
    """Return the table in lines of ``width`` characters, or of the terminal's width."""
    return table_text(table.names, table.texts, table.numeric, width or terminal_width())
