"""Show runs and comparisons in notebooks: HTML that loads nothing and runs nothing."""

import base64
import io
from collections.abc import Sequence
from html import escape
from typing import TYPE_CHECKING

from headstart.comparison.evidence import read_evidence
from headstart.errors import DataError
from headstart.records.record import RunRecord
from headstart.records.runs import Run, read_run
from headstart.report_table import Cell, ReportTable
from headstart.reports.one_run import OneRun

if TYPE_CHECKING:
    from matplotlib.figure import Figure

MOST_ROWS = 20
DOTS = 110  # an inch


def run_html(record: RunRecord) -> str:
    """Return the overview of a run; for an unfinished one its status."""
    found = read_run(record.directory)
    if not isinstance(found, Run):
        return f"<p><b>{_text(record.title)}</b>: {_text(found.status)}, {_text(found.reason)}</p>"
    try:
        one = OneRun.of(found, read_evidence(found))
    except DataError:  # the overview then has what run.json holds
        one = OneRun.of(found, None)
    return f"<h4>{_text(one.title)}</h4>{table_html(one.overview)}<p><code>{_text(found.directory)}</code></p>"


def comparison_html(tables: Sequence[ReportTable], sentences: Sequence[str], png: bytes) -> str:
    """Return the first table, the sentences, the figure, and the other tables folded."""
    first, *others = tables
    listed = "".join(f"<li>{_text(one)}</li>" for one in sentences)
    image = f'<img style="max-width:100%" alt="overview" src="data:image/png;base64,{base64.b64encode(png).decode()}">'
    folded = "".join(
        f"<details><summary>{_text(one.title)}</summary>{table_html(one, titled=False)}</details>" for one in others
    )
    return f"<div>{table_html(first)}<ul>{listed}</ul>{image}{folded}</div>"


def table_html(table: ReportTable, titled: bool = True) -> str:
    """Return a table of at most ``MOST_ROWS`` rows, with its title and its note."""
    more = len(table.rows) - MOST_ROWS
    cells = [
        "".join(_cell(cell, right) for cell, right in zip(row, table.numeric, strict=True))
        for row in table.cells[:MOST_ROWS]
    ]
    body = "".join(f"<tr>{row}</tr>" for row in cells)
    head = "".join(f"<th>{_text(name)}</th>" for name in table.names)
    title = f"<h4>{_text(table.title)}</h4>" if titled else ""
    note = " ".join(filter(None, [table.note, f"{more} more rows." if more > 0 else ""]))
    return (
        f"{title}<table><thead><tr>{head}</tr></thead><tbody>{body}</tbody></table>"
        f"{f'<p><small>{_text(note)}</small></p>' if note else ''}"
    )


def png_of(figure: "Figure") -> bytes:
    """Return a figure as PNG."""
    content = io.BytesIO()
    figure.savefig(content, format="png", dpi=DOTS)
    return content.getvalue()


def _cell(cell: Cell, right: bool) -> str:
    text = f"<b>{_text(cell.text)}</b>" if cell.bold else _text(cell.text)
    return f'<td style="text-align:{"right" if right else "left"}">{text}</td>'


def _text(value: object) -> str:
    return escape(str(value))
