"""Test that metrics.csv and TensorBoard have each logged number once, under the agreed names."""

import re
from pathlib import Path
from typing import Any

import pandas as pd
import pytest
from tensorboard.backend.event_processing.event_accumulator import EventAccumulator
from tensorboard.backend.event_processing.event_file_loader import EventFileLoader
from tensorboard.plugins.custom_scalar.layout_pb2 import Layout
from tensorboard.plugins.hparams.metadata import parse_session_start_info_plugin_data

from headstart.records.curves import CsvCurves, CurveLogger, TensorBoardCurves


def log(curves: CurveLogger) -> None:
    """Log in Lightning's order: validation, training, then test."""
    curves.begin({"strategy": "x", "optimizer.lr": 0.1, "decay_norm_bias": True})
    for epoch in range(2):
        curves.log_metrics({"epoch": epoch, "validation/accuracy": 0.5 + epoch / 10, "validation/loss": 1.0})
        curves.log_metrics({"epoch": epoch, "train/accuracy": 0.6, "learning_rate/head": 0.1 - epoch / 100})
    curves.log_metrics({"epoch": 2, "test/accuracy": 0.4})
    curves.finish(1, {"test/accuracy": 0.4, "validation/accuracy": 0.6})
    curves.finalize("success")


def test_csv_has_a_row_an_epoch_and_no_test_scores(tmp_path: Path) -> None:
    log(CsvCurves(tmp_path))
    table = pd.read_csv(tmp_path / "metrics.csv")
    assert table["epoch"].tolist() == [0, 1]
    assert table["validation/accuracy"].tolist() == [0.5, 0.6]
    assert table["learning_rate/head"].tolist() == pytest.approx([0.1, 0.09])
    assert "test/accuracy" not in table
    assert not table.isna().any(axis=None)


def scalars(folder: Path) -> dict[str, list[tuple[int, Any]]]:
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
    (file,) = (tmp_path / "tensorboard" / "train").iterdir()
    events = [event.step for event in EventFileLoader(str(file)).Load() if event.HasField("summary")]
    assert events == [0, 1]  # one for all groups


def metadata(folder: Path) -> dict[str, bytes]:
    events = EventAccumulator(str(folder))
    events.Reload()
    return {tag: found.plugin_data.content for tag, found in events.summary_metadata.items()}


def test_the_hparams_tab_gets_settings_and_real_final_metrics(tmp_path: Path) -> None:
    log(TensorBoardCurves(tmp_path / "a_run"))
    folder = tmp_path / "a_run/tensorboard/test"
    assert scalars(folder)["final/test_accuracy"] == [(1, 0.4)]
    assert scalars(folder)["final/validation_accuracy"] == [(1, 0.6)]
    content = metadata(folder)
    start = parse_session_start_info_plugin_data(content["_hparams_/session_start_info"])
    assert start.group_name == "a_run"
    assert start.hparams["optimizer.lr"].number_value == 0.1
    assert start.hparams["strategy"].string_value == "x"
    assert start.hparams["decay_norm_bias"].WhichOneof("kind") == "bool_value"
    assert "_hparams_/session_end_info" in content
    # A description of the experiment in one run would hide the settings that only other runs have.
    assert "_hparams_/experiment" not in content


def test_one_layout_a_run_overlays_train_and_validation(tmp_path: Path) -> None:
    curves = TensorBoardCurves(tmp_path)
    log(curves)
    curves.log_metrics({"epoch": 2, "train/accuracy": 0.7})  # opens the file again
    curves.finalize("success")
    events = EventAccumulator(str(tmp_path / "tensorboard/train"))
    events.Reload()
    [event] = events.Tensors("custom_scalars__config__")
    layout = Layout.FromString(event.tensor_proto.string_val[0])
    charts = {chart.title: list(chart.multiline.tag) for category in layout.category for chart in category.chart}
    assert len(charts) == 3
    for tag in ("epoch_accuracy", "epoch_loss", "learning_rate/head"):
        assert sum(any(re.match(pattern, tag) for pattern in patterns) for patterns in charts.values()) == 1


def test_only_scalars_are_written_by_default(tmp_path: Path) -> None:
    log(TensorBoardCurves(tmp_path))
    events = EventAccumulator(str(tmp_path / "tensorboard/train"))
    events.Reload()
    assert not events.Tags()["histograms"]
    assert not events.Tags()["images"]
