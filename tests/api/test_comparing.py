"""Test comparisons in Python: the numbers of the report, from folders, runs or rows, and their display."""

from pathlib import Path

import numpy as np
import pytest
from made_runs import write_run, write_tested_run

import headstart as hs
from headstart.errors import ConfigError, DataError


@pytest.fixture
def root(tmp_path: Path) -> Path:
    rng = np.random.default_rng(0)
    for strategy, share in (("ridge", 0.9), ("scratch", 0.6)):
        for seed in range(3):
            write_tested_run(tmp_path / "runs", strategy, seed, rng.random(200) < share)
    return tmp_path / "runs"


def test_a_comparison_has_table_verdicts_and_differences(root: Path) -> None:
    found = hs.compare(root)
    means = found.table.set_index("strategy").test_accuracy_mean
    frame = hs.runs(root)
    assert means.to_dict() == pytest.approx(frame.groupby("strategy")["test/accuracy"].mean().to_dict())
    assert any("ridge beats scratch by" in line for line in found.findings)
    assert found.differences.difference[0] == pytest.approx(means.ridge - means.scratch)
    assert "ridge beats scratch" in str(found)


def test_runs_may_be_given_as_folders_objects_or_rows(root: Path) -> None:
    frame = hs.runs(root)
    whole = hs.compare(root).table
    for given in (str(root), [root], frame, [hs.run(place) for place in frame.directory]):
        assert hs.compare(given).table.equals(whole)
    assert len(hs.compare(frame.query("strategy == 'ridge'")).table) == 1
    assert len(hs.compare(root, where="strategy=scratch").table) == 1
    assert len(hs.compare(root, by="seed", compare=["strategy"]).table) == 6


def test_what_cannot_be_compared_is_refused(root: Path, tmp_path: Path) -> None:
    with pytest.raises(DataError, match="no run to compare"):
        hs.compare([])
    with pytest.raises(DataError, match="no column 'directory'"):
        hs.compare(hs.runs(root)[["seed"]])
    with pytest.raises(ConfigError):
        hs.compare(root, by="strategi")
    write_run(tmp_path / "failed", "ridge", 0, 0.5, status="failed")
    with pytest.raises(DataError, match="There is no finished run here"):
        hs.compare(tmp_path / "failed")


def test_a_notebook_shows_tables_and_a_figure(root: Path) -> None:
    write_tested_run(root, "<script>", 0, np.ones(200, dtype=bool))
    found = hs.compare(root)
    shown = found._repr_html_()
    assert "ridge beats scratch" in shown
    assert "data:image/png;base64," in shown
    assert "&lt;script&gt;" in shown
    assert "<script" not in shown
    assert found._repr_png_().startswith(b"\x89PNG")
    assert found._repr_markdown_().startswith("# Comparison of runs")


def test_the_whole_report_can_be_written(root: Path, tmp_path: Path) -> None:
    page = hs.compare(root).save(tmp_path / "report")
    assert page == tmp_path / "report" / "report.html"
    assert page.is_file()
