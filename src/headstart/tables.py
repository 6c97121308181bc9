"""Format tables as plain text, and cells of CSV files."""

import io
import re
import shutil
import sys
import textwrap
from collections.abc import Sequence

from rich.box import SIMPLE_HEAD
from rich.console import Console
from rich.table import Table
from rich.text import Text

WORD = 10  # characters of each text that must fit in its column
FORMULA = re.compile(r"'*[=+\-@\t\r\n]")
NUMBER = re.compile(r"[+-]?(\d+\.?\d*|\.\d+)([eE][+-]?\d+)?")


def table_text(
    header: Sequence[str], rows: Sequence[Sequence[str]], right: Sequence[bool], width: int | None = None
) -> str:
    """Return a table as text; ``right`` marks the columns of numbers, which are aligned right and never cut.

    Texts and headers are broken to fit ``width`` characters. Nothing is broken if a text would get less than ``WORD``.
    """
    if width is not None and width < _width(header, rows):
        columns = zip(header, right, *rows, strict=True)
        header = [_broken(name, cells) if is_right else name for name, is_right, *cells in columns]
        least = [
            [cell if is_right else cell[:WORD] for cell, is_right in zip(row, right, strict=True)]
            for row in (header, *rows)
        ]
        if width < _width(least[0], least[1:]):
            width = None
    grid = Table(box=SIMPLE_HEAD, pad_edge=False)
    for name, is_right in zip(header, right, strict=True):
        grid.add_column(
            Text(name), justify="right" if is_right else "left", no_wrap=width is None or is_right, overflow="fold"
        )
    for row in rows:
        grid.add_row(*(Text(cell) for cell in row))  # no markup: a class may be called [bold]
    text = io.StringIO()
    Console(file=text, width=width or 10_000, highlight=False, color_system=None).print(grid)
    return "\n".join(line.rstrip() for line in text.getvalue().splitlines()).strip("\n")


def _broken(name: str, cells: Sequence[str]) -> str:
    """Break a column's name at spaces so that it is no wider than its cells, or than its longest word."""
    widest = max(map(len, (*cells, *name.split())), default=1)
    return "\n".join(textwrap.wrap(name, widest, break_long_words=False, break_on_hyphens=False))


def _width(header: Sequence[str], rows: Sequence[Sequence[str]]) -> int:
    """Return the width in characters of a table whose cells are not broken."""
    columns = zip(header, *rows, strict=True)
    widest = [max(len(line) for cell in column for line in cell.split("\n")) for column in columns]
    return sum(widest) + 3 * len(widest) - 1


def terminal_width() -> int | None:
    """Return the terminal's width in characters, 80 or more, or None if the output is not a terminal."""
    return max(80, shutil.get_terminal_size().columns) if sys.stdout.isatty() else None


def share_text(share: float) -> str:
    """Return a fraction from 0 to 1 as text: –, 0.4 %, 45 %, or 100 % for exactly 1."""
    if share in (0, 1):
        return "100 %" if share else "–"
    if share < 0.0005:
        return "<0.1 %"
    return f"{100 * share:.1f} %" if share < 0.0995 else f"{min(99, round(100 * share))} %"


def csv_cell(value: object) -> object:
    """Put an apostrophe before a text like "=A1", so that no spreadsheet runs it as a formula.

    Numbers stay unchanged, also as text. To restore the text, remove one apostrophe before = + - @, a tab or a line
    end. Source: OWASP, "CSV Injection".
    """
    if isinstance(value, str) and FORMULA.match(value) and not NUMBER.fullmatch(value):
        return f"'{value}"
    return value


UNPRINTABLE = re.compile("[\x00-\x08\x0b-\x1f\x7f-\x9f\u061c\u200e\u200f\u202a-\u202e\u2066-\u2069\ud800-\udfff]")


def plain_text(text: str) -> str:
    """Return the text with control characters and surrogates written as \\x1b."""
    return text if text.isprintable() else UNPRINTABLE.sub(_escaped, text)


def _escaped(found: re.Match[str]) -> str:
    code = ord(found[0])
    return f"\\x{code & 0xFF:02x}" if code < 0x100 or 0xDC80 <= code <= 0xDCFF else f"\\u{code:04x}"
