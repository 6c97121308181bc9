"""Test the report on runs that were measured under corruptions."""

from pathlib import Path

import numpy as np
import pandas as pd
import pytest
from made_runs import write_tested_run

from headstart.cli import main
from headstart.errors import DataError
from headstart.records.robustness_file import Robustness, read_robustness
from headstart.reports import read_runs
from headstart.reports.analysis import Analysis, Options, analyse
from headstart.statistics import paired_both

IMAGES = 200
CELLS = [(name, severity) for name in ("fog", "snow") for severity in (1, 5)]


def measured_run(
    root: Path, strategy: str, seed: int, share: float, cells: list[tuple[str, int]] = CELLS, **changes: str
) -> Robustness:
    """Write a run with accuracy 0.9 on clean images, and this accuracy on corrupted ones."""
    rng = np.random.default_rng([seed, int(100 * share)])
    clean = rng.random(IMAGES) < 0.9
    folder = write_tested_run(root, strategy, seed, clean)
    known = {"images": "digest", "made_by": "kernels 1"} | changes
    found = Robustness(
        total=IMAGES,
        size=64,
        weights="weights",
        fingerprint=None,
        clean=clean,
        results={cell: rng.random(IMAGES) < share for cell in cells},
        **known,
    )
    (folder / "robustness.json").write_text(found.text())
    return found


def report(root: Path, **options: object) -> Analysis:
    return analyse(read_runs([root]), Options(**options))  # type: ignore[arg-type]


@pytest.fixture
def two_strategies(tmp_path: Path) -> tuple[list[Robustness], list[Robustness]]:
    good = [measured_run(tmp_path / "runs", "lp_ft", seed, 0.7) for seed in range(3)]
    poor = [measured_run(tmp_path / "runs", "scratch", seed, 0.4) for seed in range(3)]
    return good, poor


def test_what_is_written_is_read(tmp_path: Path) -> None:
    found = measured_run(tmp_path, "lp_ft", 0, 0.7)
    (folder,) = (path.parent for path in tmp_path.rglob("robustness.json"))
    read = read_robustness(folder)
    assert read is not None
    assert read.cells == found.cells
    assert all(np.array_equal(read.results[cell], found.results[cell]) for cell in CELLS)
    assert np.array_equal(read.clean, found.clean)
    assert read.mean_error == pytest.approx(np.mean([1 - found.results[cell].mean() for cell in CELLS]))
    (folder / "robustness.json").write_text(found.text().replace('"count": 200', '"count": 900'))
    with pytest.raises(DataError, match=r"robustness.json is damaged"):
        read_robustness(folder)


def test_means_and_the_paired_comparison(
    tmp_path: Path, two_strategies: tuple[list[Robustness], list[Robustness]]
) -> None:
    good, poor = two_strategies
    analysis = report(tmp_path)
    found = analysis.robustness
    assert found is not None
    (panel,) = found.panels
    best = next(group for group in panel.groups if group.label == "lp_ft")
    errors = [1 - np.mean([one.results[cell].mean() for cell in CELLS]) for one in good]
    assert found.mce(best).mean == pytest.approx(np.mean(errors))
    assert found.mce(best).deviation == pytest.approx(np.std(errors, ddof=1))
    assert [(group.label, bold) for group, bold in found.rows] == [("lp_ft", True), ("scratch", False)]
    (one,) = found.comparisons["ants"]
    mine, theirs = (
        np.stack([np.mean([run.results[cell] for cell in CELLS], axis=0) for run in of]) for of in (good, poor)
    )
    expected = paired_both(mine, theirs)
    assert (one.a, one.b) == ("lp_ft", "scratch")
    assert (one.result.low, one.result.high) == pytest.approx((expected.low, expected.high))
    assert one.p_adjusted == pytest.approx(expected.p_value)


def test_every_form_of_the_report_has_it(
    tmp_path: Path, two_strategies: tuple[list[Robustness], list[Robustness]], capsys: pytest.CaptureFixture[str]
) -> None:
    good, poor = two_strategies
    assert main(["report", str(tmp_path / "runs"), "--out", str(tmp_path / "out")]) == 0
    said = capsys.readouterr().out
    out = tmp_path / "out"
    mce = 100 * np.mean([one.mean_error for one in good])
    assert "mCE (%)" in said
    assert "ants, corrupted: lp_ft beats scratch by" in said
    text = (out / "report.md").read_text()
    assert "## Robustness" in text
    assert f"**{mce:.1f} ± " in text
    fog = [100 * np.mean([one.error("fog") for one in of]) for of in (good, poor)]
    assert any(line.split("|")[1].strip() == "fog" for line in text.splitlines() if line.startswith("|"))
    assert all(f"{value:.1f}" in text for value in fog)
    assert "robustness-1-ants.png" in text
    latex = (out / "report.tex").read_text()
    assert latex.count(r"\begin{tabular}") == 2
    assert rf"$\mathbf{{{mce:.1f}}} \pm" in latex
    page = (out / "report.html").read_text()
    assert "Error by corruption: ants" in page
    assert "Differences in robustness" in page
    groups = pd.read_csv(out / "report.csv")
    assert groups.loc[groups.strategy == "lp_ft", "test_mce_mean"].item() == pytest.approx(mce / 100)
    assert len(pd.read_csv(out / "robustness.csv")) == 2 * (1 + len(CELLS))
    assert pd.read_csv(out / "robustness_comparisons.csv").a.tolist() == ["lp_ft"]
    assert pd.read_csv(out / "runs.csv")["test/mce"].notna().sum() == 6
    assert (out / "figures/robustness-1-ants.pdf").is_file()


def test_without_measurements_there_is_no_section(tmp_path: Path) -> None:
    for seed in range(2):
        write_tested_run(tmp_path / "runs", "scratch", seed, np.arange(30) % 3 > seed)
    assert report(tmp_path).robustness is None
    assert main(["report", str(tmp_path / "runs"), "--out", str(tmp_path / "out"), "--no-figures"]) == 0
    assert not (tmp_path / "out/robustness.csv").exists()
    for name in ("report.md", "report.tex", "report.csv", "runs.csv"):
        content = (tmp_path / "out" / name).read_text().lower()
        assert "mce" not in content
        assert "robust" not in content


@pytest.mark.parametrize(
    ("changes", "why"),
    [
        ({"images": "others"}, "were measured on different images"),
        ({"made_by": "kernels 0"}, "with corruptions made differently (kernels 1; kernels 0)"),
        ({"cells": CELLS[:2]}, "under different corruptions or severities (4 and 2 in all)"),
    ],
)
def test_runs_measured_differently_are_not_compared(tmp_path: Path, changes: dict[str, object], why: str) -> None:
    for seed in range(2):
        measured_run(tmp_path, "lp_ft", seed, 0.7)
        measured_run(tmp_path, "scratch", seed, 0.4, **changes)  # type: ignore[arg-type]
    found = report(tmp_path).robustness
    assert found is not None
    assert found.comparisons == {}
    assert not any(bold for _, bold in found.rows)
    (reason,) = found.reasons
    assert reason.startswith("ants: mean corruption errors are not compared, as lp_ft-0-0.1 and scratch-0-0.1")
    assert why in reason


def test_runs_without_measurements_are_named_and_the_others_compared(tmp_path: Path) -> None:
    for seed in range(3):
        measured_run(tmp_path, "lp_ft", seed, 0.7)
    measured_run(tmp_path, "scratch", 1, 0.4)
    write_tested_run(tmp_path, "scratch", 2, np.ones(IMAGES, dtype=bool))
    (folder,) = tmp_path.glob("lp_ft-0-*")
    (folder / "robustness.json").write_text("{")
    analysis = report(tmp_path)
    found = analysis.robustness
    assert found is not None
    assert found.comparisons["ants"][0].result.pairs == 1
    assert [group.test.count for group, _ in found.rows] == [3, 2]
    assert [found.mce(group).count for group, _ in found.rows] == [2, 1]
    assert "2 of 5 runs were not measured under corruptions" in found.reasons[0]
    assert any("robustness.json cannot be read" in problem.reason for problem in analysis.found.problems)
