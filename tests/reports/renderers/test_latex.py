"""Test that LaTeX prints any label unchanged: by the grammar of the text, and by pdflatex if installed."""

import re
import shutil
import string
import subprocess
from pathlib import Path

import pytest
from hypothesis import given
from hypothesis import strategies as st

from headstart.report_table import Cell, Column, ReportTable
from headstart.reports.renderers.latex import SPECIAL, escape_latex, latex_table

TOKENS = re.compile("|".join(re.escape(form) for form in (*SPECIAL.values(), "{}")))
LISTS = [
    '["stage2", "stage3"]',
    "[1,2]",
    "*",
    "--lr",
    "100 % of a_b & {c}",
    "C:\\x",
    "~^<>|#$`'",
    "''",
    ",,",
    "\x07bell",
]


def printed(escaped: str) -> str:
    """Return the text that LaTeX prints for an escaped text."""
    forms = {form: letter for letter, form in SPECIAL.items()} | {"{}": ""}
    return TOKENS.sub(lambda found: forms[found[0]], escaped)


@given(st.text(st.sampled_from(string.printable) | st.characters()))
def test_any_text_prints_as_itself(text: str) -> None:
    escaped = escape_latex(text)
    line = re.sub("[\x00-\x1f\x7f-\x9f\ud800-\udfff\ufffe\uffff]", "?", " ".join(text.split()))
    assert printed(escaped) == line
    bare = TOKENS.sub("", escaped)
    assert not set(bare) & set('\\{}$&#%_~^<>|"`[]*')
    assert not re.search("--|''|,,|\n", escaped)


@pytest.mark.skipif(shutil.which("pdflatex") is None, reason="pdflatex is not installed")
@pytest.mark.slow
def test_pdflatex_takes_any_label(tmp_path: Path) -> None:
    labels = (*LISTS, string.printable)
    columns = [Column("[head.stages]"), *map(Column, labels)]
    rows = [[Cell(label), *map(Cell, labels)] for label in labels]
    text = latex_table(ReportTable("t", "T", "", columns, rows, lower=1), "note")
    document = rf"\documentclass{{article}}\usepackage{{booktabs}}\begin{{document}}{text}\end{{document}}"
    (tmp_path / "table.tex").write_text(document)
    done = subprocess.run(
        ["pdflatex", "-halt-on-error", "table.tex"], cwd=tmp_path, capture_output=True, text=True, timeout=60
    )
    assert done.returncode == 0, done.stdout
