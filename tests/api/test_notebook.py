"""Run the notebook of the documentation, cell by cell, as Jupyter would; and check that it has no outputs."""

import ast
import json

import pytest
from conftest import CHECKOUT

CELLS = json.loads((CHECKOUT / "docs" / "notebook.ipynb").read_text())["cells"]


def test_the_notebook_runs(capsys: pytest.CaptureFixture[str]) -> None:
    names: dict[str, object] = {}
    shown: dict[str, object] = {}
    for cell in CELLS:
        if cell["cell_type"] == "code":
            tree = ast.parse("".join(cell["source"]))
            last = tree.body.pop() if isinstance(tree.body[-1], ast.Expr) else None
            exec(compile(tree, "notebook", "exec"), names)
            if isinstance(last, ast.Expr):
                value = shown[cell["id"]] = eval(compile(ast.Expression(last.value), "notebook", "eval"), names)
                assert repr(value)
                if hasattr(value, "_repr_html_"):
                    assert "<table" in value._repr_html_()
    printed = capsys.readouterr().out
    assert "3 runs: 2 finished, 1 had finished before" in printed
    assert "license: unknown" in printed
    assert len(shown) >= 7


def test_the_notebook_is_stored_without_outputs() -> None:
    assert not [cell for cell in CELLS if cell.get("outputs") or cell.get("execution_count")]
