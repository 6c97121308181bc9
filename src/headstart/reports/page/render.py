"""Render a page as one HTML text that has no time stamps and loads nothing.

The page carries its own style, script and data. A content security policy forbids every request, and every script
except the page's own, named by SHA-256 (W3C, "Content Security Policy Level 3", hash sources).
"""

import base64
import hashlib
import importlib.util
import math
import re
from collections.abc import Callable, Iterable, Iterator
from functools import cache
from importlib import resources
from pathlib import Path
from typing import TYPE_CHECKING

from headstart.errors import DataError
from headstart.report_table import Cell, Column, ReportTable
from headstart.reports.page.content import Page
from headstart.reports.page.data import script_data
from headstart.reports.page.run_table import run_table

if TYPE_CHECKING:
    from jinja2 import Environment

FEW_VALUES = 12  # a text column with at most this many values gets a drop-down
# Not allowed in HTML, or impossible to write as UTF-8.
UNPRINTABLE = re.compile("[\x00-\x08\x0b-\x1f\x7f\ud800-\udfff\ufffe\uffff]")


def render(page: Page) -> str:
    """Return the whole page as HTML; the same content gives the same text.

    Raises DataError if there are charts and plotly's script is missing.
    """
    scripts = [_asset("page.js"), *([plotly_script()] if page.charts else [])]
    sections = [
        ("tables", "Tables", [(anchor("table", table.id), table) for table in page.tables]),
        ("charts", "Charts", [(anchor("chart", chart.id), chart) for chart in page.charts]),
        ("images", "Figures", [(anchor("image", number), image) for number, image in enumerate(page.images)]),
        ("runs", "Runs", [("run-table", run_table(page.runs))] if page.runs else []),
    ]
    return (
        _environment()
        .get_template("template.html")
        .render(
            page=page,
            sections=sections,
            linked=any(cell.runs for table in page.tables for row in table.rows for cell in row),
            policy=policy(scripts),
            style=page_style(),
            data=script_data(page),
            scripts=scripts,
        )
    )


def plotly_script() -> str:
    """Return plotly.js from the Python package, without importing the package, which takes half a second."""
    found = importlib.util.find_spec("plotly")
    if found is None or found.origin is None:
        raise DataError("The charts of the page need the package plotly, which is not installed; install plotly>=6.")
    path = Path(found.origin).parent / "package_data" / "plotly.min.js"
    try:
        script = path.read_text(encoding="utf-8")
    except OSError as error:
        raise DataError(f"plotly's script '{path}' cannot be read ({error.strerror}); install plotly>=6.") from None
    return re.sub("</(?=script)|<!--", lambda end: end[0].replace("<", r"\x3c"), script, flags=re.IGNORECASE)


def anchor(kind: str, name: object) -> str:
    """Return an id for any name; plain words stay as they are, so that links can be written by hand."""
    plain = str(name)
    if re.fullmatch(r"[A-Za-z0-9_-]+", plain):
        return f"{kind}-{plain}"
    return f"{kind}-{hashlib.sha256(plain.encode('utf-8', 'surrogatepass')).hexdigest()[:12]}"


def _asset(name: str) -> str:
    return resources.files(__package__).joinpath(name).read_text(encoding="utf-8")


def page_style() -> str:
    """Return the style sheet of every page."""
    return _asset("page.css")


def policy(scripts: Iterable[str]) -> str:
    """Return the policy: no requests, inline styles as plotly sets them, images of the page or made by plotly."""
    hashes = [base64.b64encode(hashlib.sha256(script.encode()).digest()).decode() for script in scripts]
    allowed = " ".join(f"'sha256-{value}'" for value in hashes)
    return (
        f"default-src 'none'; script-src {allowed}; style-src 'unsafe-inline'; img-src data: blob:;"
        " base-uri 'none'; form-action 'none'"
    )


def escaping_environment(load: Callable[[str], str]) -> "Environment":
    """Return an environment of templates, read by name with ``load``; it escapes everything they show."""
    from jinja2 import Environment, FunctionLoader, StrictUndefined

    return Environment(
        autoescape=True,
        finalize=_printable,
        keep_trailing_newline=True,
        loader=FunctionLoader(load),
        lstrip_blocks=True,
        trim_blocks=True,
        undefined=StrictUndefined,
    )


@cache
def _environment() -> "Environment":
    """Return the environment of this folder's templates."""
    environment = escaping_environment(_asset)
    environment.filters.update(data_url=_data_url, printable=_printable)
    environment.globals.update(menus=_menus, sort_key=_sort_key)
    return environment


def _printable(value: object) -> object:
    """Return a text without characters that HTML forbids."""
    return UNPRINTABLE.sub("\ufffd", value) if type(value) is str else value


def _sort_key(cell: Cell, column: Column) -> float | str | None:
    """Return the sort key of a cell; None if the text is the key, or if a number is missing."""
    value = cell.value
    if isinstance(value, float) and not math.isfinite(value):
        return None
    return None if column.kind == "text" and value == cell.text else value


def _menus(table: ReportTable) -> Iterator[tuple[int, str, list[str]]]:
    """Yield column number, name and values of each drop-down: for text columns with few values that repeat."""
    columns = zip(table.names, table.numeric, *table.texts, strict=True)
    for number, (name, numeric, *texts) in enumerate(columns):
        values = list(dict.fromkeys(texts))
        if not numeric and 1 < len(values) <= min(FEW_VALUES, len(table.rows) - 1):
            yield number, name, values


def _data_url(png: bytes) -> str:
    return f"data:image/png;base64,{base64.b64encode(png).decode()}"
