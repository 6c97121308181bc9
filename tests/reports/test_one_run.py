"""Test the report of one run: its accuracy, classes, confusions, mistakes, calibration, cost and curve."""

from pathlib import Path

import numpy as np
import pandas as pd
import pytest
from hypothesis import given
from hypothesis import strategies as st
from made_runs import CLASSES, write_run, write_tested_run

from headstart.cli import main
from headstart.kinds.class_tables import share_interval
from headstart.records.runs import read_runs
from headstart.reports.analysis import Analysis, analyse
from headstart.reports.drawing import planned
from headstart.reports.tables.beyond_accuracy import beyond_accuracy
from headstart.statistics import accuracy_interval

RIGHT = np.array([True] * 12 + [False, True, True, False] * 6)  # 36 images, 12 a class
COST = {
    "train_seconds": 12.5, "samples_per_second": 80.0, "trainable_parameters": 1000, "total_parameters": 4000,
    "peak_memory_bytes": 3 * 2**30,
}  # fmt: skip


def run_with(folder: Path, right: np.ndarray = RIGHT, **changes: object) -> Path:
    changes = {"pictures": {"train": 90, "validation": 30, "test": len(right)}, "cost": COST} | changes
    return write_tested_run(folder, "scratch", 0, right, RIGHT[:30], **changes)


def analysed(folder: Path) -> Analysis:
    return analyse(read_runs([folder]))


@given(st.integers(0, 400).flatmap(lambda count: st.tuples(st.integers(0, count), st.just(count))))
def test_the_interval_of_a_share_is_that_of_an_accuracy(counts: tuple[int, int]) -> None:
    right, count = counts
    if not count:
        assert np.isnan(share_interval(right, count)).all()
        return
    expected = accuracy_interval([[True] * right + [False] * (count - right)])
    assert share_interval(right, count) == pytest.approx((expected.low, expected.high), abs=1e-9)


def test_the_overview_and_the_tables_state_one_interval(tmp_path: Path) -> None:
    run_with(tmp_path)
    analysis = analysed(tmp_path)
    assert analysis.one_run is not None
    low, high = analysis.groups[0].test.interval
    assert dict(analysis.one_run.overview.texts)["test accuracy (%)"] == (
        f"66.7 [{100 * low:.1f}, {100 * high:.1f}], 36 images"
    )


@pytest.mark.parametrize(("losses", "best"), [((0.3, 0.2, 0.1), 3), ((0.3, 0.2, 0.2), 2), ((np.nan, 0.4, np.inf), 2)])
def test_the_best_epoch_is_the_one_that_is_chosen(losses: tuple[float, ...], best: int, tmp_path: Path) -> None:
    folder = run_with(tmp_path)
    curve = pd.DataFrame({"epoch": range(3), "validation/accuracy": 0.5, "validation/loss": losses})
    curve.to_csv(folder / "metrics.csv", index=False)
    one = analysed(tmp_path).one_run
    assert one is not None
    assert f"best 50.0 % in epoch {best}" in dict(one.overview.texts)["learning"]


def test_the_overview_has_accuracy_calibration_cost_and_learning(tmp_path: Path) -> None:
    run_with(tmp_path, selection={"rule": "epoch 3 of 3, the best on validation"})
    one = analysed(tmp_path).one_run
    assert one is not None
    assert one.title == "scratch of resnet18 on ants, seed 0"
    told = dict(one.overview.texts)
    assert told["test accuracy (%)"] == "66.7 [49.7, 80.2], 36 images"
    assert told["validation accuracy (%)"].endswith("30 images")
    assert told["calibration"].startswith("ECE 3.3 %, NLL ")
    assert told["after temperature scaling"].startswith("ECE ")
    assert told["training (s)"] == "12.5, 80 images/s"
    assert told["parameters trained"] == "1.00 k of 4.00 k"
    assert told["peak memory"] == "3.00 GiB"
    assert told["images"] == "90 train, 30 validation, 36 test"
    assert told["learning"] == "validation 56.7 % in epoch 1, best 66.7 % in epoch 3, last 66.7 %; training last 70.0 %"


@pytest.mark.parametrize("seed", range(3))
def test_classes_confusions_and_mistakes_are_those_of_the_file(seed: int, tmp_path: Path) -> None:
    folder = run_with(tmp_path, np.random.default_rng(seed).random(60) < 0.6)
    table = pd.read_csv(folder / "predictions.csv")
    wrong = table[table.target != table.prediction]
    assert main(["report", str(tmp_path), "--no-figures"]) == 0
    classes, confusions, mistakes = (
        pd.read_csv(tmp_path / f"report/{name}.csv") for name in ("classes", "confusions", "mistakes")
    )
    assert classes.recall.is_monotonic_increasing
    by_class = classes.set_index("class")
    for name, of in table.groupby("target"):
        assert by_class.images[name] == len(of)
        assert by_class.predicted[name] == (table.prediction == name).sum()
        assert by_class.recall[name] == pytest.approx((of.prediction == name).mean())
    in_group = pd.read_csv(tmp_path / "report/recalls.csv").set_index("class").recall
    assert in_group.to_dict() == pytest.approx(by_class.recall.to_dict())
    assert confusions.images.is_monotonic_decreasing
    for row in confusions.itertuples():
        assert row.images == ((table.target == row.target) & (table.prediction == row.prediction)).sum()
    assert confusions.images.sum() == len(mistakes) == len(wrong)
    assert set(mistakes.id) == set(wrong.id)
    assert mistakes.probability_of_prediction.is_monotonic_decreasing


def test_text_markdown_and_page_show_them(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    folder = run_with(tmp_path)
    assert main(["report", str(folder), "--out", str(tmp_path / "out")]) == 0
    said = capsys.readouterr().out
    assert said.splitlines()[0] == "scratch of resnet18 on ants, seed 0"
    assert max(map(len, said.partition("\npage:")[0].splitlines())) <= 80
    text = (tmp_path / "out/report.md").read_text()
    page = (tmp_path / "out/report.html").read_text()
    for word in ("test/12.jpg", "66.7", "3.00 GiB", "ants"):
        assert word in said
        assert word in text
        assert word in page
    for heading in ("Classes, the worst first", "Biggest confusions", "Most confident mistakes"):
        assert f"## {heading}" in text
        assert f">{heading}</h3>" in page
    for figure in ("Learning curves", "Confusion", "Reliability"):
        assert f"## {figure}" in text
    assert "Comparison of runs" not in text + page


def test_a_run_without_predictions_keeps_its_overview(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    write_run(tmp_path, "scratch", 0, 0.5, pictures={"test": 100})
    assert main(["report", str(tmp_path), "--no-figures"]) == 0
    said = capsys.readouterr().out
    assert "50.0 [40.3, 59.7], 100 images" in said
    assert "predictions.csv is missing" in said
    assert not (tmp_path / "report/classes.csv").exists()


def test_nothing_wrong_is_no_table_of_mistakes(tmp_path: Path) -> None:
    run_with(tmp_path, np.ones(30, dtype=bool))
    one = analysed(tmp_path).one_run
    assert one is not None
    assert [table.id for table in one.details] == ["classes"]
    assert [row[0] for row in one.details[0].texts] == CLASSES


@pytest.mark.parametrize("images", [None, 3, {"test": "many"}, {"test": -1, "train": True}])
def test_odd_counts_are_left_out(images: object, tmp_path: Path) -> None:
    run_with(tmp_path, images=images)
    one = analysed(tmp_path).one_run
    assert one is not None
    assert "36 images" in dict(one.overview.texts)["test accuracy (%)"]


def test_several_runs_are_compared(tmp_path: Path) -> None:
    run_with(tmp_path)
    write_run(tmp_path, "lora", 0, 0.5)
    assert analysed(tmp_path).one_run is None


@pytest.mark.parametrize(
    ("objective", "tables", "measures"),
    [("contrast", [], set()), ("relative_patches", ["classes", "confusions"], {"macro F1 (%)", "calibration"})],
)
def test_a_pretraining_has_only_the_measures_that_its_objective_gives(
    objective: str, tables: list[str], measures: set[str], tmp_path: Path
) -> None:
    run_with(tmp_path, task=objective)
    analysis = analysed(tmp_path)
    assert analysis.one_run is not None
    shown = dict(analysis.one_run.overview.texts)
    assert shown["test accuracy (%)"].startswith("66.7 [49.7, 80.2]")
    assert {name for name in shown if "macro" in name or name == "calibration"} == measures
    assert [table.id for table in analysis.one_run.details] == tables
    figures = {plan.name.partition("-")[0] for plan in planned(analysis, [{}], {})}
    assert ("confusion" in figures, "reliability" in figures) == (bool(tables), bool(tables))
    assert (beyond_accuracy(analysis) is not None) == bool(measures)
