"""Tables as plain text, for the terminal and the log, and cells of CSV files."""

import io
import re
from collections.abc import Sequence

from rich.box import SIMPLE_HEAD
from rich.console import Console
from rich.table import Table
from rich.text import Text

FORMULA = re.compile(r"'*[=+\-@\t\r\n]")
NUMBER = re.compile(r"[+-]?(\d+\.?\d*|\.\d+)([eE][+-]?\d+)?")


def table_text(
    header: Sequence[str], rows: Sequence[Sequence[str]], right: Sequence[bool], width: int | None = None
) -> str:
    """Rows of cells; ``right`` says which columns are numbers. Cells are broken into lines only to fit ``width``."""
    grid = Table(box=SIMPLE_HEAD, pad_edge=False)
    for name, is_right in zip(header, right, strict=True):
        grid.add_column(Text(name), justify="right" if is_right else "left", no_wrap=width is None or is_right)
    for row in rows:
        grid.add_row(*(Text(cell) for cell in row))  # no markup: a class may be called [bold]
    text = io.StringIO()
    Console(file=text, width=width or 10_000, highlight=False, color_system=None).print(grid)
    return "\n".join(line.rstrip() for line in text.getvalue().splitlines()).strip("\n")


def share_text(share: float) -> str:
    """A share of 0 to 1: –, 0.4 %, 45 %, 100 %, the last only if it is everything."""
    if share in (0, 1):
        return "100 %" if share else "–"
    if share < 0.0005:
        return "<0.1 %"
    return f"{100 * share:.1f} %" if share < 0.0995 else f"{min(99, round(100 * share))} %"


def csv_cell(value: object) -> object:
    """Return a value that a spreadsheet does not run as a formula: an apostrophe goes before a text like "=A1".

    Numbers stay, also as text. Removing one apostrophe before = + - @, a tab or a line end gives the text back.
    Source: OWASP, "CSV Injection".
    """
    if isinstance(value, str) and FORMULA.match(value) and not NUMBER.fullmatch(value):
        return f"'{value}"
    return value
