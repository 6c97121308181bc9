"""The pivot table as LaTeX, for the package booktabs."""

import math
import re
from collections.abc import Callable, Mapping

from headstart.comparison.formats import percent
from headstart.comparison.pivot import Pivot, of_test
from headstart.comparison.table import RunGroup, Statistic

SPECIAL: Mapping[str, str] = {
    "\\": r"\textbackslash{}", "{": r"\{", "}": r"\}", "$": r"\$", "&": r"\&", "#": r"\#", "%": r"\%", "_": r"\_",
    "~": r"\textasciitilde{}", "^": r"\textasciicircum{}", "<": r"\textless{}", ">": r"\textgreater{}",
    "|": r"\textbar{}", '"': r"{\char34}", "`": r"\`{}",
    "[": "{[}", "]": "{]}", "*": "{*}",  # after \\ or \midrule, [ begins an argument and * is an option
}  # fmt: skip
UNPRINTABLE = re.compile("[\x00-\x1f\x7f-\x9f\ud800-\udfff\ufffe\uffff]")


def escape_latex(text: object) -> str:
    """Return text that LaTeX prints as it is, wherever it stands; control characters become "?".

    Repeated hyphens, apostrophes and commas are kept apart, as LaTeX joins ``--`` to a dash.
    """
    line = UNPRINTABLE.sub("?", " ".join(str(text).split()))
    return re.sub(r"([-',])(?=\1)", r"\1{}", "".join(SPECIAL.get(letter, letter) for letter in line))


def latex_table(table: Pivot, what: str, note: str, score: Callable[[RunGroup], Statistic] = of_test) -> str:
    """A tabular with booktabs rules: mean and deviation in percent, the best and its ties in bold.

    ``what`` names the first column; ``note`` goes above as a comment; ``score`` is what the cells show.
    """
    head = [what, *table.columns]
    lines = [
        *(f"% {line}" for line in note.splitlines()),
        r"% \usepackage{booktabs}",
        rf"\begin{{tabular}}{{l{'r' * len(table.columns)}}}",
        r"\toprule",
        " & ".join(escape_latex(name) for name in head) + r" \\",
        r"\midrule",
    ]
    references = False
    for label, groups in zip(table.rows, table.cells, strict=True):
        if any(group is not None and group.reference for group in groups) and not references:
            references = True
            lines.append(r"\midrule")
        cells = [
            _cell(None if group is None else score(group), label in best)
            for group, best in zip(groups, table.best, strict=True)
        ]
        lines.append(" & ".join([escape_latex(label), *cells]) + r" \\")
    return "\n".join([*lines, r"\bottomrule", r"\end{tabular}"]) + "\n"


def _cell(score: Statistic | None, bold: bool) -> str:
    if score is None or not score.count:
        return "--"
    mean, deviation = percent(score.mean), score.deviation
    value = rf"\mathbf{{{mean}}}" if bold else mean
    return f"${value}$" if math.isnan(deviation) else rf"${value} \pm {percent(deviation)}$"
