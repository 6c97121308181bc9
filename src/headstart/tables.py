"""Tables as plain text, for the terminal and the log."""

import io
from collections.abc import Sequence

from rich.box import SIMPLE_HEAD
from rich.console import Console
from rich.table import Table


def table_text(header: Sequence[str], rows: Sequence[Sequence[str]], right: Sequence[bool]) -> str:
    """Rows of cells, no word broken; ``right`` says which columns are numbers."""
    grid = Table(box=SIMPLE_HEAD, pad_edge=False)
    for name, is_right in zip(header, right, strict=True):
        grid.add_column(name, justify="right" if is_right else "left", no_wrap=True)
    for row in rows:
        grid.add_row(*row)
    text = io.StringIO()
    Console(file=text, width=10_000, highlight=False, color_system=None).print(grid)
    return "\n".join(line.rstrip() for line in text.getvalue().splitlines()).strip("\n")
