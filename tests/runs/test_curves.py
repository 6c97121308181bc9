"""metrics.csv and TensorBoard hold what was logged, once, under the agreed names."""

from pathlib import Path

import pandas as pd
import pytest
from tensorboard.backend.event_processing.event_accumulator import EventAccumulator

from headstart.runs.curves import CsvCurves, Curves, TensorBoardCurves


def log(curves: Curves) -> None:
    """As Lightning does it: validation first, then training, then the test."""
    for epoch in range(2):
        curves.log_metrics({"epoch": epoch, "validation/accuracy": 0.5 + epoch / 10, "validation/loss": 1.0})
        curves.log_metrics({"epoch": epoch, "train/accuracy": 0.6, "learning_rate/head": 0.1 - epoch / 100})
    curves.log_metrics({"epoch": 2, "test/accuracy": 0.4})
    curves.finish(1, {"strategy": "x", "optimizer.lr": 0.1}, {"test/accuracy": 0.4, "validation/accuracy": 0.6})
    curves.finalize("success")


def test_csv_has_a_row_an_epoch_and_no_test_scores(tmp_path: Path) -> None:
    log(CsvCurves(tmp_path))
    table = pd.read_csv(tmp_path / "metrics.csv")
    assert table["epoch"].tolist() == [0, 1]
    assert table["validation/accuracy"].tolist() == [0.5, 0.6]
    assert table["learning_rate/head"].tolist() == pytest.approx([0.1, 0.09])
    assert "test/accuracy" not in table
    assert not table.isna().any(axis=None)


def scalars(folder: Path) -> dict[str, list[tuple[int, float]]]:
    events = EventAccumulator(str(folder))
    events.Reload()
    return {tag: [(e.step, pytest.approx(e.value)) for e in events.Scalars(tag)] for tag in events.Tags()["scalars"]}


def test_sub_runs_share_tags(tmp_path: Path) -> None:
    log(TensorBoardCurves(tmp_path))
    train, validation, test = (scalars(tmp_path / "tensorboard" / s) for s in ("train", "validation", "test"))
    assert train["epoch_accuracy"] == [(0, 0.6), (1, 0.6)]
    assert validation["epoch_accuracy"] == [(0, 0.5), (1, 0.6)]
    assert test["epoch_accuracy"] == [(1, 0.4)]
    assert "learning_rate/head" not in train  # it comes by step
    assert "epoch_loss" in validation


def test_learning_rates_come_by_step(tmp_path: Path) -> None:
    curves = TensorBoardCurves(tmp_path)
    curves.log_steps("learning_rate", [(0, {"head": 0.1, "backbone": 0.01}), (1, {"head": 0.2, "backbone": 0.02})])
    curves.finalize("success")
    train = scalars(tmp_path / "tensorboard" / "train")
    assert train["learning_rate/head"] == [(0, 0.1), (1, 0.2)]
    assert train["learning_rate/backbone"] == [(0, 0.01), (1, 0.02)]


def test_the_hparams_tab_gets_settings_and_real_final_metrics(tmp_path: Path) -> None:
    log(TensorBoardCurves(tmp_path))
    folder = tmp_path / "tensorboard" / "test"
    assert scalars(folder)["final/test_accuracy"] == [(1, 0.4)]
    events = EventAccumulator(str(folder))
    events.Reload()
    content = events.summary_metadata["_hparams_/session_start_info"].plugin_data.content
    assert b"optimizer.lr" in content
    assert b"final/test_accuracy" in events.summary_metadata["_hparams_/experiment"].plugin_data.content
