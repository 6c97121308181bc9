"""Test headstart status: the state of each run, and the time left."""

import errno
import json
import os
import subprocess
import sys
import time
from collections.abc import Iterator
from datetime import UTC, datetime
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import yaml
from conftest import answer_of
from hypothesis import given
from hypothesis import strategies as st
from made_runs import write_regression_run, write_run

from headstart.cli import main
from headstart.commands.status import in_two_units, total_line
from headstart.errors import DataError
from headstart.records.finding import find_homes
from headstart.records.lock import RunLock
from headstart.records.outcomes import JobOutcome, write_outcome
from headstart.sweeps.status import RunStatus, overview

NOW = 1_800_000_000.0


def make(root: Path, name: str, status: str, begun: float = 100.0, rows: int | None = None, **changes: Any) -> Path:
    """Write a run that began ``begun`` seconds before NOW and ended its last epoch 10 s before NOW."""
    folder = root / name
    folder.mkdir(parents=True)
    content = {
        "schema": 1, "status": status, "dataset": "ants", "backbone": "resnet18", "strategy": "head_only",
        "started_at": datetime.fromtimestamp(NOW - begun, UTC).isoformat(), "pictures": {"train": 100},
        "cost": {"wall_seconds": 60.0, "epochs": 10} if status == "finished" else {}, "error": None,
        "metrics": {"test/accuracy": 0.875} if status == "finished" else {},
    }  # fmt: skip
    (folder / "run.json").write_text(json.dumps(content | changes))
    (folder / "config.yaml").write_text(yaml.safe_dump({"trainer": {"max_epochs": 10}}))
    if rows is not None:
        lines = [f"{epoch},1000" for epoch in range(rows)]
        (folder / "metrics.csv").write_text("\n".join(["epoch,samples_per_second", *lines]) + "\n")
        os.utime(folder / "metrics.csv", (NOW - 10, NOW - 10))
    return folder


@pytest.fixture
def alive(tmp_path: Path) -> Iterator[Any]:
    """Return a function that lets another process hold a folder's lock until the test ends."""
    processes = []

    def hold(folder: Path) -> subprocess.Popen[str]:
        code = (
            "import sys, time; from pathlib import Path; from headstart.records.lock import RunLock\n"
            "print(RunLock(Path(sys.argv[1])).acquire(), flush=True); time.sleep(60)"
        )
        process = subprocess.Popen([sys.executable, "-c", code, str(folder)], stdout=subprocess.PIPE, text=True)
        processes.append(process)
        assert process.stdout is not None
        assert process.stdout.readline().strip() == "True"
        return process

    yield hold
    for process in processes:
        process.kill()
        process.wait()


def only(folder: Path) -> RunStatus:
    (run,) = overview([folder], NOW).runs
    return run


def test_jobs_that_an_earlier_command_finished_are_not_left(tmp_path: Path, alive: Any) -> None:
    for name in ("a", "b", "c"):
        make(tmp_path / "sweep", name, "finished")
    (tmp_path / "sweep" / "sweep.json").write_text(json.dumps({"jobs": 3, "command": ["x"]}))
    (sweep,) = overview([tmp_path], NOW).sweeps
    assert (sweep.left, sweep.remaining) == (0, 0.0)


def test_an_interrupted_run_shows_its_progress(tmp_path: Path) -> None:
    run = only(make(tmp_path, "a", "interrupted", rows=3))
    assert (run.epochs, run.max_epochs) == (3, 10)


def test_a_run_lives_as_long_as_its_process(tmp_path: Path, alive: Any) -> None:
    folder = make(tmp_path, "a", "running", rows=3)
    assert only(folder).status == "stopped"
    assert only(folder).remaining is None
    process = alive(folder)
    assert only(folder).status == "running"
    process.kill()
    process.wait()
    assert only(folder).status == "stopped"
    with RunLock(folder):
        assert only(folder).status == "running", "in this very process too"
        assert only(folder).status == "running", "and asking does not end it"


def test_the_time_to_go_comes_from_the_epochs_that_are_over(tmp_path: Path, alive: Any) -> None:
    folder = make(tmp_path, "a", "running", begun=100, rows=3)
    alive(folder)
    run = only(folder)
    assert (run.epochs, run.max_epochs) == (3, 10)
    assert run.seconds == pytest.approx(100)
    assert run.remaining == pytest.approx(7 * 90 / 3 - 10)  # 90 s for three epochs, and the fourth began 10 s ago


def test_the_time_left_of_a_resumed_run_uses_its_own_speed(tmp_path: Path, alive: Any) -> None:
    folder = make(tmp_path, "a", "running", begun=11, rows=5, pictures={"train": 60_000})
    alive(folder)
    assert only(folder).remaining == pytest.approx(5 * 60 - 10), "five epochs in one second they cannot have been"


def test_before_the_first_epoch_similar_runs_give_the_time_left(tmp_path: Path, alive: Any) -> None:
    folder = make(tmp_path, "a", "running", begun=20)
    alive(folder)
    assert only(folder).remaining is None
    make(tmp_path, "slow", "finished", cost={"wall_seconds": 1000.0}, strategy="finetune_all")
    (first, _) = overview([tmp_path], NOW).runs
    assert first.remaining == pytest.approx(1000 - 20)
    make(tmp_path, "like", "finished", cost={"wall_seconds": 50.0})
    assert overview([tmp_path], NOW).runs[0].remaining == pytest.approx(50 - 20)
    make(tmp_path, "quick", "finished", cost={"wall_seconds": 5.0})
    assert overview([tmp_path], NOW).runs[0].remaining == pytest.approx(55 / 2 - 20)


def test_rows_that_are_settings_are_no_epochs(tmp_path: Path, alive: Any) -> None:
    folder = make(tmp_path, "a", "running")
    (folder / "metrics.csv").write_text("epoch,l2,validation/accuracy\n0,0.1,0.5\n1,0.2,0.5\n")
    alive(folder)
    assert (only(folder).epochs, only(folder).max_epochs, only(folder).remaining) == (None, None, None)


def test_a_sweep_that_runs(tmp_path: Path, alive: Any) -> None:
    sweep = tmp_path / "sweep"
    make(sweep, "a", "finished", cost={"wall_seconds": 60.0})
    make(sweep, "b", "finished", cost={"wall_seconds": 40.0})
    alive(make(sweep, "c", "running", begun=100, rows=9))
    write_sweep(sweep, jobs=8)
    for job, word in enumerate(("finished", "finished", "skipped")):
        write_outcome(sweep, JobOutcome(job, (), word, None))
    alive(sweep)
    found = overview([tmp_path], NOW)
    (told,) = found.sweeps
    assert told.is_running
    assert (told.jobs, told.left) == (8, 4)
    assert told.remaining == pytest.approx(4 * 50 + 0)
    assert "go on" not in total_line(found)
    assert total_line(found) == "3 runs: 2 finished, 1 running; 4 jobs left; 3 min 20 s to go"


def test_a_killed_sweep_says_how_to_resume(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    make(tmp_path / "sweep", "a", "running", rows=2)
    write_sweep(tmp_path / "sweep", jobs=3)
    write_outcome(tmp_path / "sweep", JobOutcome(0, (), "interrupted", None))
    assert main(["status", str(tmp_path)]) == 0
    said = capsys.readouterr().out
    assert "3 jobs, 3 left" in said
    assert "to resume: headstart train -m 'augmentation=[crop_resize,mixup]' seed=0,1,2" in said
    assert said.splitlines()[-1] == "1 run: 1 stopped; 3 jobs left"


def write_sweep(folder: Path, jobs: int | None) -> None:
    folder.mkdir(exist_ok=True)
    command = ["headstart train", "-m", "augmentation=[crop_resize,mixup]", "seed=0,1,2"]
    content = {"schema": 1, "command": command, "overrides": [], "jobs": jobs, "started_at": "2026-01-01T00:00:00"}
    (folder / "sweep.json").write_text(json.dumps(content))


def test_the_table_and_the_failures(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    make(tmp_path, "good", "finished")
    make(tmp_path, "bad", "failed", error={"type": "DataError", "message": "Class 'c' has\nno image."})
    make(tmp_path, "stopped", "interrupted", error={"type": "KeyboardInterrupt", "message": "stopped from outside"})
    (make(tmp_path, "half", "finished") / "run.json").write_text('{"schema"')
    assert main(["status", str(tmp_path)]) == 0
    lines = capsys.readouterr().out.splitlines()
    assert any(line.split() == ["good", "finished", "10", "1", "min", "00", "s", "–", "87.5", "%"] for line in lines)
    assert "bad: Class 'c' has" in lines
    assert any(line.startswith("half: run.json cannot be read") for line in lines)
    assert not any("stopped from outside" in line for line in lines)
    assert lines[-1] == "4 runs: 1 finished, 1 interrupted, 1 failed, 1 damaged"


def test_for_programs(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    make(tmp_path, "good", "finished")
    write_sweep(tmp_path, jobs=None)
    assert main(["status", str(tmp_path), "--json"]) == 0
    told = json.loads(capsys.readouterr().out)
    assert told["counts"] == {"finished": 1}
    (run,) = told["runs"]
    assert (run["directory"], run["seconds"], run["test_accuracy"]) == (str(tmp_path / "good"), 60.0, 0.875)
    (sweep,) = told["sweeps"]
    assert (sweep["jobs"], sweep["left"], sweep["running"]) == (None, None, False)


def test_no_runs_and_no_folder(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    assert main(["status", str(tmp_path)]) == 0
    assert capsys.readouterr().out == "0 runs\n"
    assert main(["status", str(tmp_path / "gone")]) == 2
    said = capsys.readouterr().err
    assert said.startswith(f"headstart: There is no folder '{tmp_path / 'gone'}'")
    with pytest.raises(DataError):
        find_homes([tmp_path / "gone"])


@pytest.mark.parametrize("content", ["", "[]", '{"status": "running", "cost": 3}', '{"status": 7}', '{"jobs": "x"}'])
def test_damaged_files_are_named_and_never_fatal(content: str, tmp_path: Path) -> None:
    (tmp_path / "a").mkdir()
    (tmp_path / "a" / "run.json").write_text(content)
    (tmp_path / "sweep.json").write_text(content)
    (tmp_path / ".outcomes").mkdir()
    (tmp_path / ".outcomes" / "0.json").write_text(content)
    (run,) = overview([tmp_path], NOW).runs
    assert run.status in ("damaged", "stopped")


@pytest.mark.parametrize("number", ["NaN", "Infinity", "-Infinity", "1" + "0" * 400, "1" + "0" * 16])
def test_impossible_numbers_are_not_shown(number: str, tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    run = make(tmp_path, "a", "finished", cost={"wall_seconds": "?", "epochs": "?"}, metrics={"test/accuracy": "?"})
    make(tmp_path, "b", "running", rows=2, pictures={"train": "?"})
    for file in (run / "run.json", tmp_path / "b" / "run.json"):
        file.write_text(file.read_text().replace('"?"', number))
    (tmp_path / "sweep.json").write_text(f'{{"jobs": {number}}}')
    told = overview([tmp_path], NOW)
    assert (told.runs[0].seconds, told.runs[0].epochs, told.runs[0].score) == (None, None, None)
    assert told.sweeps[0].jobs is None
    assert main(["status", str(tmp_path)]) == 0
    assert "2 runs" in capsys.readouterr().out


def test_runs_are_found_once_and_hidden_folders_not_searched(tmp_path: Path) -> None:
    runs = [make(tmp_path, name, "finished") for name in ("x/a", "b")]
    make(tmp_path, ".features/c", "finished")
    make(tmp_path, "b/inner", "finished")
    assert find_homes([tmp_path, tmp_path / "x", runs[0]])[0] == sorted(runs)


def test_a_repeat_of_headstart_reproduce_is_no_run_of_the_sweep(tmp_path: Path) -> None:
    run = make(tmp_path, "a", "finished")
    make(tmp_path, "b", "finished", repeats={"run": str(run), "id": "a"})
    make(tmp_path, "c", "running", repeats={"run": str(run), "id": "a"})
    assert [one.directory for one in overview([tmp_path], NOW).runs] == [run]


@given(st.floats(0, 1e7))
def test_durations_are_short_and_near(seconds: float) -> None:
    told = in_two_units(seconds)
    units = {"s": 1, "min": 60, "h": 3600, "d": 86400}
    words = told.split()
    read = sum(int(number) * units[unit] for number, unit in zip(words[::2], words[1::2], strict=True))
    assert len(words) in (2, 4)
    assert abs(read - seconds) <= max(0.5, 0.05 * seconds)


def test_five_hundred_runs_take_no_two_seconds_and_no_torch(tmp_path: Path) -> None:
    for number in range(500):
        make(tmp_path, f"run-{number:03d}", "finished" if number % 5 else "running", rows=10)
    code = (
        "import sys, time; start = time.perf_counter(); from headstart.cli import main\n"
        f"assert main(['status', {str(tmp_path)!r}]) == 0\n"
        "print(time.perf_counter() - start, 'torch' in sys.modules, 'hydra' in sys.modules)"
    )
    before = time.perf_counter()
    *_, total, last = answer_of(code).splitlines()
    assert total == "500 runs: 400 finished, 100 stopped"
    seconds, torch, hydra = last.split()
    assert (torch, hydra) == ("False", "False")
    assert float(seconds) < 2, f"of {time.perf_counter() - before:.1f} s"


def test_runs_on_data_that_were_changed_since_are_not_done(tmp_path: Path) -> None:
    """The sweep of three jobs is run again after its images were changed, and has trained one of them."""
    sweep = {"schema": 1, "jobs": 3, "overrides": [], "command": ["headstart train"]}
    (tmp_path / "sweep.json").write_text(json.dumps(sweep))
    for number in range(3):
        make(tmp_path, f"old-{number}", "finished", begun=500, source={"root": "/ants", "hash": "1"})
    make(tmp_path, "elsewhere", "finished", begun=600, source={"root": "/bees", "hash": "3"})
    assert overview([tmp_path], NOW).sweeps[0].left == 0
    (tmp_path / "elsewhere" / "run.json").unlink()
    make(tmp_path, "new", "finished", begun=50, source={"root": "/ants", "hash": "2"})
    found = overview([tmp_path], NOW).sweeps[0]
    assert (found.left, found.outdated) == (2, 3)


def test_sources_at_one_place_are_not_changes_of_one_another(tmp_path: Path) -> None:
    """cifar10 and stl10 are in one folder; one list has two columns of labels."""
    (tmp_path / "sweep.json").write_text(json.dumps({"schema": 1, "jobs": 2, "overrides": [], "command": ["x"]}))
    for number in "12":
        source = {"root": "data", "settings": number, "hash": number}
        make(tmp_path, number, "finished", begun=100 * int(number), source=source)
    found = overview([tmp_path], NOW).sweeps[0]
    assert (found.left, found.outdated) == (0, 0)


def test_a_folder_that_cannot_be_read_is_a_damaged_run(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    make(tmp_path, "a", "finished")
    for name in ("closed", "gone"):
        (tmp_path / name).mkdir()
    plain = os.scandir

    def scandir(path: str) -> object:  # as permissions do not stop a test run by root
        if path.endswith("closed"):
            raise PermissionError(errno.EACCES, "Permission denied", path)
        if path.endswith("gone"):
            raise FileNotFoundError(errno.ENOENT, "No such file or directory", path)
        return plain(path)

    monkeypatch.setattr(os, "scandir", scandir)
    assert main(["status", str(tmp_path)]) == 0
    assert capsys.readouterr().out.splitlines()[-1] == "2 runs: 1 finished, 1 damaged"


def test_the_score_is_the_primary_metric_of_each_run(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    write_regression_run(tmp_path, "scratch", 0, np.array([1.0, 3.0]), unit="years")
    write_run(tmp_path, "head_only", 0, 0.5)
    assert main(["status", str(tmp_path)]) == 0
    shown = capsys.readouterr().out
    assert "mae 2.00 years" in shown
    assert "50.0 %" in shown
    assert main(["status", str(tmp_path), "--json"]) == 0
    first, second = json.loads(capsys.readouterr().out)["runs"]
    assert (first["test_accuracy"], second["test_mae"]) == (0.5, 2.0)
    assert "test_mae" not in first
    assert "test_accuracy" not in second


@pytest.mark.parametrize("task", [None, 7, "nonsense", {"a": 1}])
def test_an_unknown_task_stops_no_other_run(tmp_path: Path, task: object, capsys: pytest.CaptureFixture[str]) -> None:
    write_run(tmp_path, "head_only", 0, 0.5, task=task)
    write_regression_run(tmp_path, "scratch", 0, np.array([1.0, 3.0]))
    assert main(["status", str(tmp_path)]) == 0
    assert "mae 2.00" in capsys.readouterr().out
