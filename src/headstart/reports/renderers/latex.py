"""Render tables as LaTeX, for the package booktabs."""

import re
from collections.abc import Iterable, Mapping

from headstart.comparison.formats import NOTHING
from headstart.report_table import Cell, ReportTable

SPECIAL: Mapping[str, str] = {
    "\\": r"\textbackslash{}", "{": r"\{", "}": r"\}", "$": r"\$", "&": r"\&", "#": r"\#", "%": r"\%", "_": r"\_",
    "~": r"\textasciitilde{}", "^": r"\textasciicircum{}", "<": r"\textless{}", ">": r"\textgreater{}",
    "|": r"\textbar{}", '"': r"{\char34}", "`": r"\`{}",
    "[": "{[}", "]": "{]}", "*": "{*}",  # after \\ or \midrule, [ begins an argument and * is an option
}  # fmt: skip
UNPRINTABLE = re.compile("[\x00-\x1f\x7f-\x9f\ud800-\udfff\ufffe\uffff]")


def escape_latex(text: object) -> str:
    """Return text that LaTeX prints as it is anywhere; control characters become "?".

    Repeated hyphens, apostrophes and commas are separated, as LaTeX joins ``--`` to a dash.
    """
    line = UNPRINTABLE.sub("?", " ".join(str(text).split()))
    return re.sub(r"([-',])(?=\1)", r"\1{}", "".join(SPECIAL.get(letter, letter) for letter in line))


def latex_table(table: ReportTable, remark: str = "") -> str:
    """Return a tabular with booktabs rules; its note and a remark stand above it as comments."""
    lines = [
        *(f"% {line}" for text in (table.note, remark) for line in text.splitlines()),
        r"% \usepackage{booktabs}",
        rf"\begin{{tabular}}{{{''.join('r' if numeric else 'l' for numeric in table.numeric)}}}",
        r"\toprule",
        _line(map(escape_latex, table.names)),
        r"\midrule",
        *(_line(map(_cell, row)) for row in table.cells),
        r"\bottomrule",
        r"\end{tabular}",
    ]
    if table.lower is not None:
        lines.insert(table.lower - len(table.rows) - 2, r"\midrule")
    return "\n".join(lines) + "\n"


def _line(cells: Iterable[str]) -> str:
    return " & ".join(cells) + r" \\"


def _cell(cell: Cell) -> str:
    """Return a cell; mean and deviation as mathematics, without an unknown deviation."""
    mean, sign, deviation = cell.text.partition(" ± ")
    if not sign:
        return "--" if cell.text == NOTHING else escape_latex(cell.text)
    value = rf"\mathbf{{{mean}}}" if cell.bold else mean
    return f"${value}$" if deviation == NOTHING else rf"${value} \pm {deviation}$"
