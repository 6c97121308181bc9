"""Test reports on regression runs: alone, compared, and beside classification runs."""

import csv
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from made_runs import write_regression_run, write_tested_run

from headstart.cli import main

RNG = np.random.default_rng(0)


def write_three(root: Path, **changes: Any) -> None:
    for strategy, size in (("scratch", 4.0), ("head_only", 2.0), ("finetune_all", 1.0)):
        for seed in range(2):
            write_regression_run(root, strategy, seed, RNG.normal(0, size, 60), RNG.normal(0, size, 20), **changes)


def rows_of(path: Path) -> list[dict[str, str]]:
    with path.open(newline="") as file:
        return list(csv.DictReader(file))


def test_the_lowest_error_is_reported_as_the_best(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    references = {"mean_of_train": {"test/mae": 9.5, "validation/mae": 9.4}}
    write_three(tmp_path / "runs", unit="years", references=references)
    assert main(["report", str(tmp_path / "runs"), "--out", str(tmp_path / "out")]) == 0
    said = capsys.readouterr().out
    assert "test mae (years)" in said
    assert "ants: finetune_all " in said
    assert "above scratch" not in said
    assert " years below mean of train without any network" in said
    assert "accuracy" not in said
    for name in ("report.md", "report.tex"):
        text = (tmp_path / "out" / name).read_text()
        assert "mae (years)" in text
        assert "accurac" not in text.lower()
    groups = rows_of(tmp_path / "out/report.csv")
    assert [row["strategy"] for row in groups] == ["finetune_all", "head_only", "scratch", "mean of train"]
    best = groups[0]
    assert float(best["test_mae_low"]) < float(best["test_mae_mean"]) < float(best["test_mae_high"])
    assert {"test_rmse_mean", "test_r2_mean", "test_median_absolute_error_mean"} <= best.keys()
    for row in rows_of(tmp_path / "out/comparisons.csv"):
        assert float(row["difference"]) < 0, "the first has the lower error"
    assert not [path.name for path in (tmp_path / "out/figures").iterdir() if "confusion" in path.name]
    assert not (tmp_path / "out/recalls.csv").exists(), "there are no classes"


def test_one_run_shows_its_largest_errors(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    errors = np.array([0.5, -8.0, 1.0, 0.0])
    write_regression_run(tmp_path / "runs", "scratch", 0, errors, np.ones(3), unit="years")
    assert main(["report", str(tmp_path / "runs"), "--out", str(tmp_path / "out"), "--no-figures"]) == 0
    said = capsys.readouterr().out
    for text in ("test mae (years)", "2.38 [0.00, ", "RMSE", "R²", "validation 3.00 years in epoch 1"):
        assert text in said
    (first, *_) = rows_of(tmp_path / "out/errors.csv")
    assert first == {"id": "pred/1.jpg", "target": "1.0", "prediction": "-7.0", "error": "-8.0"}
    page = (tmp_path / "out/report.html").read_text()
    assert "Largest errors" in page
    assert "Confusion" not in page


def test_tasks_stand_side_by_side_and_are_not_compared(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    write_three(tmp_path / "runs/numbers")
    for strategy, share in (("scratch", 0.5), ("head_only", 0.9)):
        for seed in range(2):
            right = RNG.random(60) < share
            write_tested_run(tmp_path / "runs/classes", strategy, seed, right, id=f"{strategy} {seed}")
    assert main(["report", str(tmp_path / "runs"), "--out", str(tmp_path / "out"), "--no-figures"]) == 0
    said = capsys.readouterr().out
    assert "classification, accuracy (%)" in said
    assert "regression, mae" in said
    assert "note: Runs of different tasks are not compared with each other: classification; regression, mae." in said
    pairs = {(row["task"], row["a"], row["b"]) for row in rows_of(tmp_path / "out/comparisons.csv")}
    assert len(pairs) == 4
    assert ("classification", "head_only", "scratch") in pairs
    text = (tmp_path / "out/report.md").read_text()
    assert "Accuracies and mean absolute errors are means over runs, ±" in text
    tasks = {row["task"] for row in rows_of(tmp_path / "out/report.csv")}
    assert tasks == {"classification", "regression, mae"}


def test_a_setting_is_drawn_against_the_error(tmp_path: Path) -> None:
    for lr in (0.1, 0.01, 0.001):
        for strategy in ("scratch", "head_only"):
            write_regression_run(tmp_path / "runs", strategy, 0, RNG.normal(0, 1 + lr, 30), lr=lr)
    assert main(["report", str(tmp_path / "runs"), "--out", str(tmp_path / "out")]) == 0
    assert "## Test mean absolute error by lr" in (tmp_path / "out/report.md").read_text()
    assert (tmp_path / "out/figures/by-lr-1.png").is_file()
    tuned = ["--tune", "lr", "--out", str(tmp_path / "tuned"), "--no-figures"]
    assert main(["report", str(tmp_path / "runs"), *tuned]) == 0


def test_corruptions_of_another_kind_of_run_are_left_alone(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    folder = write_regression_run(tmp_path / "runs", "scratch", 0, RNG.normal(0, 1, 30))
    (folder / "robustness.json").write_text("{}")
    write_regression_run(tmp_path / "runs", "head_only", 0, RNG.normal(0, 1, 30))
    assert main(["report", str(tmp_path / "runs"), "--out", str(tmp_path / "out"), "--no-figures"]) == 0
    assert "robustness" not in capsys.readouterr().out
