"""Render tables as Markdown."""

import re
from collections.abc import Sequence

from headstart.report_table import ReportTable


def escape_markdown(text: object) -> str:
    """Return text that Markdown shows as it is, even in a cell; underscores inside words need no escape."""
    line = " ".join(str(text).split())
    line = re.sub(r"([\\`*\[\]<>|~$#&])", r"\\\1", line)
    return re.sub(r"(?<![0-9A-Za-z])_|_(?![0-9A-Za-z])", r"\\_", line)


def markdown_table(table: ReportTable) -> str:
    """Return the table with aligned source."""
    lines = [[escape_markdown(name) for name in table.names]]
    for row in table.cells:
        lines.append([f"**{escape_markdown(cell.text)}**" if cell.bold else escape_markdown(cell.text) for cell in row])
    widths = [max(3, *map(len, cells)) for cells in zip(*lines, strict=True)]
    rule = [
        "-" * (width - 1) + ":" if numeric else "-" * width
        for width, numeric in zip(widths, table.numeric, strict=True)
    ]
    return "\n".join(_line(line, widths, table.numeric) for line in (lines[0], rule, *lines[1:]))


def _line(cells: Sequence[str], widths: Sequence[int], numeric: Sequence[bool]) -> str:
    padded = [
        cell.rjust(width) if right else cell.ljust(width)
        for cell, width, right in zip(cells, widths, numeric, strict=True)
    ]
    return f"| {' | '.join(padded)} |"
