"""Test that a tracker gets each number of a run once, and that nothing that it does changes or stops the run."""

import json
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from conftest import SMALLEST, TINY, runs_below
from fake_trackers import FakeTrackers, Record
from fake_trackers import trackers as trackers

from headstart.cli import main
from headstart.trackers import MlflowCurves, TrackioCurves, WandbCurves
from headstart.trackers.tracker import TrackerCurves

CLASSES = [WandbCurves, MlflowCurves, TrackioCurves]
RUN = ["train", *TINY, *SMALLEST, "strategy=finetune_all", "features.enabled=false"]
EVERY = "logger=[tensorboard,wandb,mlflow,trackio]"


def only(fake: FakeTrackers, package: str) -> Record:
    (record,) = fake.records[package].values()
    return record


def epoch(curves: TrackerCurves, number: int) -> None:
    """Log an epoch in Lightning's order."""
    curves.log_metrics({"epoch": number, "validation/accuracy": number / 10, "validation/loss": 1.0})
    curves.log_metrics({"epoch": number, "train/accuracy": 0.6, "learning_rate/head": 0.1})


def continued(cls: type[TrackerCurves], folder: Path, state: dict[str, Any] | None) -> TrackerCurves:
    """Return the logger of a process that resumes from a state."""
    curves = cls(folder)
    curves.resume(state)
    curves.begin({"strategy": "x"})
    curves.muted = False
    return curves


def test_every_tracker_gets_what_tensorboard_gets(trackers: FakeTrackers, capsys: pytest.CaptureFixture[str]) -> None:
    assert main([*RUN, EVERY, "output_dir=o"]) == 0
    (run,) = runs_below(Path("o"))
    (folder,) = (path.parent for path in Path("o").rglob("run.json"))
    table = [line.split(",") for line in (folder / "metrics.csv").read_text().splitlines()]
    for package, records in trackers.records.items():
        (record,) = records.values()
        assert record.status == "finished"
        assert record.name.startswith(folder.name)
        assert record.group == folder.parent.name
        assert record.settings["strategy"] == "finetune_all"
        assert float(record.settings["optimizer.weight_decay"]) == 0.01
        assert record.images == ["augmented_batch"]
        points = {(name, number): value for name, number, value in record.points}
        assert len(points) == len(record.points)
        for row in table[1:]:
            for name, value in zip(table[0][1:], row[1:], strict=True):
                assert points[name, int(row[0])] == float(value), package
        assert points["test/accuracy", run["best_epoch"]] == run["metrics"]["test/accuracy"]
        assert points["final/test_accuracy", run["best_epoch"]] == run["metrics"]["test/accuracy"]
    assert trackers.modes == ["offline"]
    out = capsys.readouterr().out
    assert out.count(f"wandb sync {folder.absolute()}/wandb/offline-run-*") == 1
    assert f"mlflow ui --backend-store-uri sqlite:///{Path('o').absolute()}/mlflow/mlflow.db" in out
    assert f"TRACKIO_DIR={Path('o').absolute()}/trackio trackio show" in out
    assert {path.name for path in Path().iterdir()} <= {"o", "cache"}  # nothing in the working directory


def test_loggers_change_neither_result_nor_identity(trackers: FakeTrackers) -> None:
    for name in ("csv", EVERY.partition("=")[2]):
        assert main([*RUN, f"logger={name}", f"output_dir={len(name)}", "trainer.max_epochs=1"]) == 0
    first, second = runs_below(Path())
    assert {first[key] == second[key] for key in ("id", "config_hash", "metrics", "best_epoch")} == {True}


@pytest.mark.parametrize("cls", CLASSES)
def test_a_resumed_run_continues_its_record_and_doubles_no_point(
    cls: type[TrackerCurves], trackers: FakeTrackers, tmp_path: Path
) -> None:
    first = continued(cls, tmp_path, None)
    first.log_images("grid", np.zeros((2, 2, 3), np.uint8))
    epoch(first, 0)
    state = first.state()
    epoch(first, 1)
    first.log_metrics({"epoch": 2, "validation/accuracy": 0.2, "validation/loss": 1.0})
    first.end("interrupted")
    assert only(trackers, cls.package).status == "interrupted"

    second = continued(cls, tmp_path, json.loads(json.dumps(state)))
    assert only(trackers, cls.package).status == "running"
    second.log_images("grid", np.zeros((2, 2, 3), np.uint8))
    for number in (1, 2, 3):
        epoch(second, number)
    second.finish(1, {"test/accuracy": 0.4})
    second.finish(1, {"test/accuracy": 0.4})
    second.end("finished")
    record = only(trackers, cls.package)
    points = [(name, number) for name, number, _ in record.points]
    assert len(set(points)) == len(points)
    assert [number for name, number in points if name == "train/accuracy"] == [0, 1, 2, 3]
    assert points.count(("test/accuracy", 1)) == 1
    assert record.images == ["grid"]
    assert record.status == "finished"


@pytest.mark.parametrize("cls", CLASSES)
def test_a_run_that_starts_again_gets_a_new_record(
    cls: type[TrackerCurves], trackers: FakeTrackers, tmp_path: Path
) -> None:
    for status in ("failed", "finished"):
        curves = continued(cls, tmp_path, None)
        epoch(curves, 0)
        curves.end(status)
    assert [record.status for record in trackers.records[cls.package].values()] == ["failed", "finished"]
    assert [len(record.points) for record in trackers.records[cls.package].values()] == [4, 4]


@pytest.mark.parametrize("text", ["", "[]", '{"id": 3}', '{"id": "a", "epoch": "x"}', '{"id": "a", "names": {}}'])
def test_a_damaged_file_begins_a_new_record(text: str, trackers: FakeTrackers, tmp_path: Path) -> None:
    (tmp_path / "tracker_wandb.json").write_text(text)
    curves = continued(WandbCurves, tmp_path, {"rows": {}})
    epoch(curves, 0)
    assert len(only(trackers, "wandb").points) == 4


@pytest.mark.parametrize("cls", CLASSES)
def test_a_broken_tracker_is_named_once_and_called_no_more(
    cls: type[TrackerCurves], trackers: FakeTrackers, tmp_path: Path, caplog: pytest.LogCaptureFixture
) -> None:
    curves = continued(cls, tmp_path, None)
    epoch(curves, 0)
    trackers.broken, before = True, trackers.calls
    epoch(curves, 1)
    curves.finish(1, {"test/accuracy": 0.4})
    curves.end("finished")
    (message,) = caplog.messages
    assert message == (
        f"logger={cls.package} has stopped: the server is gone; the run continues, and its directory has all results"
    )
    assert trackers.calls == before + 1
    assert curves.rows[1]["train/accuracy"] == 0.6


def test_a_run_finishes_without_its_trackers(trackers: FakeTrackers) -> None:
    trackers.broken = True
    assert main([*RUN, EVERY, "output_dir=o", "trainer.max_epochs=1"]) == 0
    (run,) = runs_below(Path("o"))
    assert run["status"] == "finished"


def test_a_failed_run_is_marked_as_failed(trackers: FakeTrackers, monkeypatch: pytest.MonkeyPatch) -> None:
    def fail(*args: Any, **kwargs: Any) -> None:
        raise RuntimeError("a bug")

    monkeypatch.setattr("headstart.training.run.keep_network", fail)
    assert main([*RUN, EVERY, "output_dir=o", "trainer.max_epochs=1", "sweep.retry=0"]) == 1
    assert {only(trackers, package).status for package in trackers.records} == {"failed"}


def test_runs_of_a_sweep_share_a_group(trackers: FakeTrackers) -> None:
    assert main([*RUN, "logger=wandb", "output_dir=o", "trainer.max_epochs=1", "-m", "seed=0,1"]) == 0
    records = trackers.records["wandb"].values()
    assert len(records) == 2
    assert len({record.group for record in records}) == 1


@pytest.mark.parametrize("package", ["wandb", "mlflow", "trackio"])
def test_a_missing_package_is_refused_in_one_sentence(package: str, capsys: pytest.CaptureFixture[str]) -> None:
    if __import__("importlib.util").util.find_spec(package):
        pytest.skip("it is installed")
    Path(package).mkdir()  # such a folder in the working directory is no package
    assert main([*RUN, f"logger=[tensorboard,{package}]", "output_dir=o"]) == 2
    error = capsys.readouterr().err
    assert error == (
        f"headstart: logger={package} needs {package}, which is missing: pip install 'headstart[{package}]'.\n"
    )
    assert not Path("o").exists()
