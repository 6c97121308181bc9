"""A page to HTML: one text, no time stamps, nothing fetched.

The page carries its own style, script and data. A content security policy forbids every request, and every script but
those written here, which it knows by their SHA-256 (W3C, "Content Security Policy Level 3", hash sources).
"""

import base64
import hashlib
import html
import importlib.util
import math
import re
import struct
from collections.abc import Iterable, Sequence
from importlib import resources
from pathlib import Path
from string import Template
from urllib.parse import quote

from headstart.errors import DataError
from headstart.reports.page.content import Cell, Chart, Column, FigureImage, Page, PageTable, RunCard
from headstart.reports.page.data import metric_name, metric_text, script_data

LONG = 24  # texts of more characters, such as verdicts, get room for a few words a line
FEW_VALUES = 12  # a text column of at most this many gets a drop-down
OPEN_PROBLEMS = 5  # more than this many are folded
# Not allowed in HTML, or impossible to write as UTF-8.
UNPRINTABLE = re.compile("[\x00-\x08\x0b-\x1f\x7f\ud800-\udfff\ufffe\uffff]")


def render(page: Page) -> str:
    """The whole page as HTML; the same content gives the same text.

    Raises DataError when there is a chart and plotly's script is missing.
    """
    scripts = [_asset("page.js")]
    if page.charts:
        scripts.append(plotly_script())
    return Template(_asset("template.html")).substitute(
        policy=_policy(scripts),
        title=text(page.title),
        style=_asset("page.css"),
        contents=_contents(page),
        body="\n".join(filter(None, _sections(page))),
        data=script_data(page),
        scripts="\n".join(f"<script>{script}</script>" for script in scripts),
    )


def plotly_script() -> str:
    """plotly.js as it ships with the Python package, which is not imported: that would take half a second."""
    found = importlib.util.find_spec("plotly")
    if found is None or found.origin is None:
        raise DataError("The charts of the page need the package plotly, which is not installed; install plotly>=6.")
    path = Path(found.origin).parent / "package_data" / "plotly.min.js"
    try:
        script = path.read_text(encoding="utf-8")
    except OSError as error:
        raise DataError(f"plotly's script '{path}' cannot be read ({error.strerror}); install plotly>=6.") from None
    return re.sub("</(?=script)|<!--", lambda end: end[0].replace("<", r"\x3c"), script, flags=re.IGNORECASE)


def text(value: object) -> str:
    """Any characters as HTML text or the value of an attribute in quotes."""
    return html.escape(UNPRINTABLE.sub("\ufffd", str(value)))


def anchor(kind: str, name: object) -> str:
    """An id from any name; names that are words stay as they are, so that links to them can be written by hand."""
    plain = str(name)
    if re.fullmatch(r"[A-Za-z0-9_-]+", plain):
        return f"{kind}-{plain}"
    return f"{kind}-{hashlib.sha256(plain.encode('utf-8', 'surrogatepass')).hexdigest()[:12]}"


def _asset(name: str) -> str:
    return resources.files(__package__).joinpath(name).read_text(encoding="utf-8")


def _policy(scripts: Iterable[str]) -> str:
    """Nothing from anywhere; styles inline as plotly sets them, images from the page itself or made by plotly."""
    hashes = [base64.b64encode(hashlib.sha256(script.encode()).digest()).decode() for script in scripts]
    allowed = " ".join(f"'sha256-{value}'" for value in hashes)
    return (
        f"default-src 'none'; script-src {allowed}; style-src 'unsafe-inline'; img-src data: blob:;"
        " base-uri 'none'; form-action 'none'"
    )


def _contents(page: Page) -> str:
    """The list of contents: sections, and what is in them."""
    groups: list[tuple[str, str, list[tuple[str, str]]]] = []
    if page.summary:
        groups.append(("summary", "Summary", []))
    if page.problems:
        groups.append(("problems", f"Problems ({len(page.problems)})", []))
    if page.tables:
        groups.append(("tables", "Tables", [(anchor("table", table.id), table.title) for table in page.tables]))
    if page.charts:
        groups.append(("charts", "Charts", [(anchor("chart", chart.id), chart.title) for chart in page.charts]))
    if page.images:
        images = [(anchor("image", number), image.title) for number, image in enumerate(page.images)]
        groups.append(("images", "Figures", images))
    if page.runs:
        groups.append(("runs", f"Runs ({len(page.runs)})", []))
    return "<ul>" + "".join(_contents_item(*group) for group in groups) + "</ul>"


def _contents_item(target: str, title: str, items: Sequence[tuple[str, str]]) -> str:
    links = "".join(f'<li><a href="#{name}">{text(label)}</a></li>' for name, label in items)
    below = f"<ul>{links}</ul>" if links else ""
    return f'<li><a href="#{target}">{text(title)}</a>{below}</li>'


def _sections(page: Page) -> list[str]:
    return [
        _summary(page),
        _problems(page.problems),
        _section("tables", "Tables", [_table(table) for table in page.tables]),
        _section("charts", "Charts", [_chart(chart) for chart in page.charts], CHART_HINT),
        _section("images", "Figures", [_image(*item) for item in enumerate(page.images)]),
        _section("runs", "Runs", [_table(run_table(page.runs), anchors=True)] if page.runs else []),
    ]


CHART_HINT = (
    '<p class="hint">Point at a chart to read its values. Click a name below it to hide or show its lines;'
    " double-click to see it alone. Drag to zoom, double-click the chart to zoom out.</p>"
    '<p class="no-script">The charts need JavaScript, which is switched off here.</p>'
)


def _section(name: str, title: str, parts: Sequence[str], hint: str = "") -> str:
    if not parts:
        return ""
    body = "\n".join(parts)
    heading = f'<h2 id="{name}-title">{title}</h2>{hint}'
    return f'<section id="{name}" aria-labelledby="{name}-title">\n{heading}\n{body}\n</section>'


def _summary(page: Page) -> str:
    if not page.summary:
        return ""
    lines = "".join(f"<li>{text(line)}</li>" for line in page.summary)
    linked = any(cell.runs for table in page.tables for row in table.rows for cell in row)
    hint = (
        '<p class="hint">A value with a dotted line under it opens the runs behind it: their settings, and the command'
        " that repeats each. A click on the name of a column sorts by it; a third click restores the order.</p>"
    )
    return (
        '<section id="summary" aria-labelledby="summary-title"><h2 id="summary-title">Summary</h2>\n'
        f'<ul class="findings">{lines}</ul>{hint if linked else ""}</section>'
    )


def _problems(problems: Sequence[str]) -> str:
    if not problems:
        return ""
    lines = "".join(f"<li>{text(line)}</li>" for line in problems)
    said = "1 thing to know about the runs" if len(problems) == 1 else f"{len(problems)} things to know about the runs"
    is_open = " open" if len(problems) <= OPEN_PROBLEMS else ""
    return (
        '<section id="problems" class="problems" aria-labelledby="problems-title">'
        '<h2 id="problems-title">Problems</h2>\n'
        f"<details{is_open}><summary>{said}</summary><ul>{lines}</ul></details></section>"
    )


def run_table(runs: Sequence[RunCard]) -> PageTable:
    """One row a run: facts that differ, then metrics; facts that all share are in the note."""
    facts = list(dict.fromkeys(name for run in runs for name in run.facts))
    shared = [name for name in facts if len(runs) > 1 and len({run.facts.get(name) for run in runs}) == 1]
    facts = [name for name in facts if name not in shared]
    metrics = sorted(dict.fromkeys(name for run in runs for name in run.metrics), key=_split_order)
    kinds = {name: [_number(run.facts[name]) for run in runs if name in run.facts] for name in facts}
    columns = [
        Column("run"),
        *(Column(name, "text" if None in kinds[name] else "number") for name in facts),
        *(Column(metric_name(name), "number") for name in metrics),
    ]
    rows = [
        [
            Cell(run.name, runs=(number,)),
            *(Cell(run.facts.get(name, "–"), _number(run.facts.get(name, ""))) for name in facts),
            *(_metric_cell(run, name) for name in metrics),
        ]
        for number, run in enumerate(runs)
    ]
    note = f"All runs share {', '.join(f'{name} {runs[0].facts[name]}' for name in shared)}." if shared else ""
    title = "The run" if len(runs) == 1 else f"All {len(runs)} runs"
    return PageTable("runs", title, note, columns, rows)


def _split_order(metric: str) -> int:
    """Test first, as a reader looks for it; within a split as given."""
    splits = ("test/", "validation/")
    return next((place for place, split in enumerate(splits) if metric.startswith(split)), len(splits))


def _metric_cell(run: RunCard, name: str) -> Cell:
    value = run.metrics.get(name, math.nan)
    return Cell(metric_text(name, value), value)


def _number(value: str) -> float | None:
    try:
        return float(value)
    except ValueError:
        return None


def _table(table: PageTable, anchors: bool = False) -> str:
    """A table with its controls; with ``anchors``, row i is run i and can be linked to."""
    name = "run-table" if anchors else anchor("table", table.id)
    head = "".join(_header(column) for column in table.columns)
    body = "\n".join(_row(row, table.columns, f' id="run-{i}"' if anchors else "") for i, row in enumerate(table.rows))
    note = f'<p class="note">{text(table.note)}</p>' if table.note else ""
    return (
        f'<article id="{name}" class="block"><h3 id="{name}-title">{text(table.title)}</h3>{note}\n{_controls(table)}'
        f'<div class="scroll" role="region" tabindex="0" aria-labelledby="{name}-title">'
        f'<table class="data" aria-labelledby="{name}-title"><thead><tr>{head}</tr></thead>\n'
        f"<tbody>\n{body}\n</tbody></table></div>{_column_help(table.columns)}</article>"
    )


def _header(column: Column) -> str:
    hint = f' title="{text(column.help)}"' if column.help else ""
    return f'<th scope="col" class="{column.kind}"><button type="button"{hint}>{text(column.name)}</button></th>'


def _row(row: Sequence[Cell], columns: Sequence[Column], attributes: str) -> str:
    first, *rest = (_cell(cell, column, i == 0) for i, (cell, column) in enumerate(zip(row, columns, strict=True)))
    return f"<tr{attributes}>{first}{''.join(rest)}</tr>"


def _cell(cell: Cell, column: Column, is_header: bool) -> str:
    shown = text(cell.text)
    if cell.bold:
        shown = f"<strong>{shown}</strong>"
    if cell.runs:
        runs = ",".join(map(str, cell.runs))
        shown = f'<a href="#run-{cell.runs[0]}" data-runs="{runs}" aria-haspopup="dialog">{shown}</a>'
    opening = "th scope=row" if is_header else "td"
    kind = '"text long"' if column.kind == "text" and len(cell.text) > LONG else column.kind
    return f"<{opening} class={kind}{_sort_key(cell, column)}>{shown}</{opening[:2]}>"


def _sort_key(cell: Cell, column: Column) -> str:
    """The attribute that the script sorts by; without it a text counts as itself and a number as missing."""
    value = cell.value
    if value is None or (isinstance(value, float) and not math.isfinite(value)):
        return ""
    if column.kind == "text" and value == cell.text:
        return ""
    return f' data-value="{text(value)}"'


def _controls(table: PageTable) -> str:
    """A text box, and a drop-down for each column of texts whose few values repeat."""
    if len(table.rows) < 2:
        return ""
    menus = "".join(_menu(table, number) for number in range(len(table.columns)))
    return (
        '<div class="controls"><input type="search" placeholder="Filter rows"'
        f' aria-label="Show only the rows of “{text(table.title)}” that hold all these words" autocomplete="off"'
        f' spellcheck="false">{menus}<button type="button" class="clear" hidden>Show all</button>'
        f'<output aria-live="polite">{len(table.rows)} rows</output></div>\n'
    )


def _menu(table: PageTable, number: int) -> str:
    """The drop-down of a column; nothing where it would not help."""
    column = table.columns[number]
    values = list(dict.fromkeys(row[number].text for row in table.rows))
    if column.kind != "text" or not 1 < len(values) <= min(FEW_VALUES, len(table.rows) - 1):
        return ""
    name = text(column.name)
    options = "".join(f"<option>{text(value)}</option>" for value in values)
    return (
        f'<label>{name} <select data-column="{number}" aria-label="{name}">'
        f'<option value="">all</option>{options}</select></label>'
    )


def _column_help(columns: Sequence[Column]) -> str:
    told = "".join(f"<dt>{text(column.name)}</dt><dd>{text(column.help)}</dd>" for column in columns if column.help)
    return f'<details class="help"><summary>What the columns mean</summary><dl>{told}</dl></details>' if told else ""


def _chart(chart: Chart) -> str:
    name = anchor("chart", chart.id)
    return (
        f'<figure id="{name}" class="block chart" aria-labelledby="{name}-title">'
        f'<figcaption id="{name}-title"><h3>{text(chart.title)}</h3></figcaption></figure>'
    )


def _image(number: int, image: FigureImage) -> str:
    name = anchor("image", number)
    width, height = struct.unpack(">II", image.png[16:24])  # the first block of a PNG: RFC 2083, section 4.1.1
    dark = (
        f'<source media="screen and (prefers-color-scheme: dark)" srcset="{_data(image.dark)}">' if image.dark else ""
    )
    links = ", ".join(f'<a href="./{quote(file)}">{text(file)}</a>' for file in map(_writable, image.files))
    files = f'<p class="hint">As vectors, beside this page: {links}</p>' if links else ""
    note = f'<p class="note">{text(image.note)}</p>' if image.note else ""
    return (
        f'<figure id="{name}" class="block image"><h3>{text(image.title)}</h3>'
        f'<picture>{dark}<img alt="{text(image.title)}" width="{width}" height="{height}"'
        f' src="{_data(image.png)}"></picture><figcaption>{note}{files}</figcaption></figure>'
    )


def _data(png: bytes) -> str:
    return f"data:image/png;base64,{base64.b64encode(png).decode()}"


def _writable(name: str) -> str:
    return UNPRINTABLE.sub("\ufffd", name)
