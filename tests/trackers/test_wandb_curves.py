"""Test that W&B records offline unless it has a key and a server that answers."""

from pathlib import Path

import pytest
from fake_trackers import FakeTrackers
from fake_trackers import trackers as trackers

from headstart.trackers import WandbCurves


def opened(folder: Path) -> WandbCurves:
    curves = WandbCurves(folder)
    curves.begin({})
    return curves


def test_without_a_key_the_run_is_offline(trackers: FakeTrackers, tmp_path: Path) -> None:
    opened(tmp_path)
    assert trackers.modes == ["offline"]


def test_wandb_decides_where_there_is_a_key(
    trackers: FakeTrackers, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setenv("WANDB_API_KEY", "k" * 40)
    opened(tmp_path)
    assert trackers.modes == [None]


def test_a_key_in_netrc_counts(trackers: FakeTrackers, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    (tmp_path / "netrc").write_text(f"machine api.wandb.ai login user password {'k' * 40}\n")
    monkeypatch.setenv("NETRC", str(tmp_path / "netrc"))
    opened(tmp_path)
    assert trackers.modes == [None]


def test_a_server_that_does_not_answer_means_offline(
    trackers: FakeTrackers, tmp_path: Path, monkeypatch: pytest.MonkeyPatch, caplog: pytest.LogCaptureFixture
) -> None:
    monkeypatch.setenv("WANDB_API_KEY", "k" * 40)
    trackers.offline_only = True
    curves = opened(tmp_path)
    assert trackers.modes == [None, "offline"]
    assert caplog.messages == ["wandb cannot be reached (no answer), so this run is recorded offline"]
    curves.log_metrics({"epoch": 0, "train/loss": 1.0})
    (record,) = trackers.records["wandb"].values()
    assert record.points == [("train/loss", 0, 1.0)]
