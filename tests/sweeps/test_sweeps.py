"""Test a sweep that is run again: it skips finished runs, resumes stopped runs and repeats failed ones."""

import json
import re
import subprocess
import sys
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path

import pytest
from conftest import CHECKOUT, SMALLEST, TINY, runs_below
from omegaconf import OmegaConf
from resuming import Killed

from headstart.cli import main
from headstart.records.finding import find_run_directories
from headstart.records.lock import RunLock, _is_taken, is_locked
from headstart.records.outcomes import JobOutcome, failures_table, read_outcomes, seconds_left, summary, write_outcome
from headstart.sweeps.beginning import STAMPED, _same_sweep, _stamped, count_jobs, end_sweep
from headstart.sweeps.earlier import abandoned, earlier_runs
from headstart.sweeps.share import known_at_once

SWEEP = [
    "train",
    "-m",
    *TINY,
    *SMALLEST,
    "strategy=head_only,linear_probe",
    "output_dir=o",
    "debug=fast",
    "features.enabled=false",
]


def texts() -> dict[Path, str]:
    return {path: path.read_text() for path in Path("o").rglob("run.json")}


def words() -> list[str]:
    (folder,) = (path.parent for path in Path("o").glob("*/sweep.json"))
    return [outcome.word for outcome in read_outcomes(folder)]


def test_finished_runs_are_skipped(capsys: pytest.CaptureFixture[str]) -> None:
    assert main(SWEEP) == 0
    before = texts()
    assert main(SWEEP) == 0
    assert texts() == before
    assert words() == ["skipped", "skipped"]
    said = capsys.readouterr().out
    first, *_ = [line for line in said.splitlines() if line.startswith("headstart: run 1 of 2")]
    assert first == "headstart: run 1 of 2: strategy=head_only"
    second = [line for line in said.splitlines() if line.startswith("headstart: run 2 of 2")]
    assert re.fullmatch(r"headstart: run 2 of 2, about 0:\d\d left: strategy=linear_probe", second[0])
    assert second[1] == "headstart: run 2 of 2: strategy=linear_probe"  # nothing was run before it
    assert "resumes in o/" in said
    assert "2 runs: 2 had finished before" in said


@pytest.mark.parametrize("where", ["headstart.training.run.Manifest", "headstart.records.provenance.git_state"])
def test_killed_before_anything_was_written_down(where: str, monkeypatch: pytest.MonkeyPatch) -> None:
    with monkeypatch.context() as patch:
        patch.setattr(where, _killed)
        with pytest.raises(Killed):
            main(SWEEP)
    end_sweep()  # the end of the process would have
    (made,) = Path("o").glob("*/textures-*")
    assert not (made / "run.json").exists()
    assert main(SWEEP) == 0
    assert len(list(Path("o").glob("*/textures-*"))) == len(texts()) == 2
    assert words() == ["finished", "finished"]


HOLD = (
    "import sys, time; from pathlib import Path; from headstart.records.lock import RunLock\n"
    "lock = RunLock(Path(sys.argv[1])); assert lock.acquire(); print('held', flush=True); time.sleep(300)"
)


@contextmanager
def held_elsewhere(directory: Path) -> Iterator[None]:
    """Let another process hold the lock."""
    with subprocess.Popen([sys.executable, "-c", HOLD, str(directory)], stdout=subprocess.PIPE, text=True) as process:
        assert process.stdout is not None
        assert process.stdout.readline() == "held\n"
        try:
            yield
        finally:
            process.kill()


def test_a_run_that_another_process_has_just_begun(monkeypatch: pytest.MonkeyPatch) -> None:
    """The run holds its directory, and has written nothing yet, or an interrupted run.json is there."""
    assert main(SWEEP) == 0
    first, second = sorted(Path("o").glob("*/textures-*"))
    (first / "run.json").unlink()
    record = json.loads((second / "run.json").read_text())
    (second / "run.json").write_text(json.dumps({**record, "status": "interrupted"}))
    with held_elsewhere(first), held_elsewhere(second):
        assert main([*SWEEP, "hydra.sweep.dir=o/other"]) == 0
        assert [outcome.word for outcome in read_outcomes(Path("o/other"))] == ["elsewhere"] * 2
        assert not list(Path("o/other").glob("textures-*"))


def test_two_sweeps_of_one_second_have_different_folders(tmp_path: Path) -> None:
    stamp = tmp_path / "2026-01-02_03-04-05"
    first, lock = _stamped(stamp, ["seed=0,1"])
    assert (first, lock is not None) == (stamp, True)
    second, other = _stamped(stamp, ["seed=2,3"])
    assert (second.name, other is not None) == ("2026-01-02_03-04-05-2", True)
    for folder, held_lock, seeds in ((first, lock, "seed=0,1"), (second, other, "seed=2,3")):
        (folder / "sweep.json").write_text(json.dumps({"overrides": [seeds]}))
        held_lock.release()  # type: ignore[union-attr]
    third, again = _stamped(stamp, ["seed=2,3"])
    assert third == second
    again.release()  # type: ignore[union-attr]
    assert _same_sweep(tmp_path, ["seed=2,3"]) == second
    assert all(STAMPED.fullmatch(folder.name) for folder in (first, second))


def test_a_sweep_that_cannot_begin_does_not(capsys: pytest.CaptureFixture[str]) -> None:
    Path("bad/sweep.json").mkdir(parents=True)
    assert main([*SWEEP, "hydra.sweep.dir=bad"]) == 2
    assert capsys.readouterr().err.startswith("headstart: the sweep cannot begin: Is a directory")
    assert not list(Path("bad").glob("textures-*"))
    assert not is_locked(Path("bad"))


def test_asking_takes_no_lock(tmp_path: Path) -> None:
    (tmp_path / ".lock").touch()
    assert not is_locked(tmp_path)
    with held_elsewhere(tmp_path):
        assert is_locked(tmp_path)
        assert not RunLock(tmp_path).acquire()
    with (tmp_path / ".lock").open("r+") as file:
        assert not _is_taken(file)
        done = subprocess.run([sys.executable, "-c", HOLD.replace("300", "0"), str(tmp_path)])  # while we look at it
        assert done.returncode == 0


def test_only_what_a_killed_run_leaves_is_taken(tmp_path: Path) -> None:
    for name in ("run-2", "run-more", "run-3", "run-4"):
        (tmp_path / name).mkdir()
    (tmp_path / "run-2" / "notes.txt").touch()
    for name in (".lock", "config.yaml", ".run.json.x1", ".packages.txt.ab12", "metrics.csv"):
        (tmp_path / "run-4" / name).touch()
    assert abandoned(tmp_path, "run") == tmp_path / "run-3"
    with RunLock(tmp_path / "run-3"):
        assert abandoned(tmp_path, "run") is None
    (tmp_path / "run-3").rmdir()
    assert abandoned(tmp_path, "run") is None
    (tmp_path / "run-4" / "metrics.csv").unlink()
    assert abandoned(tmp_path, "run") == tmp_path / "run-4"
    (tmp_path / "run-4" / "run.json").touch()
    assert abandoned(tmp_path, "run") is None


def test_missing_runs_are_run_and_failed_runs_are_tried_again(monkeypatch: pytest.MonkeyPatch) -> None:
    with monkeypatch.context() as patch:
        patch.setattr("headstart.strategies.linear_probe.LinearProbe.compute_head", _broken)
        assert main([*SWEEP, "sweep.retry=0"]) == 1
    assert words() == ["finished", "failed"]
    assert main([*SWEEP, "sweep.retry=0"]) == 1  # left alone, and still told
    assert words() == ["skipped", "failed"]
    assert main(SWEEP) == 0
    assert words() == ["skipped", "retried"]
    assert [run["status"] for run in runs_below(Path("o"))] == ["finished"] * 2


def test_a_crash_is_tried_again_at_once_a_wrong_setting_is_not(monkeypatch: pytest.MonkeyPatch) -> None:
    calls: list[str] = []

    def once(self: object, *args: object) -> None:
        calls.append("called")
        raise RuntimeError("DataLoader worker (pid 1) is killed by signal: Killed.")

    monkeypatch.setattr("headstart.strategies.linear_probe.LinearProbe.compute_head", once)
    assert main([*SWEEP, "sweep.retry=2"]) == 1
    assert len(calls) == 3
    (failed,) = (run for run in runs_below(Path("o")) if run["status"] == "failed")
    assert failed["error"]["type"] == "CrashError"
    assert "num_workers" in failed["error"]["message"]


def test_other_images_are_another_run(make_folder: object, capsys: pytest.CaptureFixture[str]) -> None:
    root = make_folder({"train/a": 6, "train/b": 6, "test/a": 2, "test/b": 2})  # type: ignore[operator]
    sweep = [setting for setting in SWEEP if "counts" not in setting]
    sweep += ["dataset=image_folder", f"dataset.root={root}"]
    assert main(sweep) == 0
    image = root / "train/a/0.jpg"
    image.touch()  # other times, the same contents
    assert main(sweep) == 0
    assert words() == ["skipped", "skipped"]
    image.write_bytes((root / "train/a/1.jpg").read_bytes())
    assert main(sweep) == 0
    assert words() == ["finished", "finished"]
    assert len(runs_below(Path("o"))) == 4
    capsys.readouterr()


def test_a_larger_sweep_includes_the_runs_of_a_smaller_one() -> None:
    smaller = [setting.replace("head_only,linear_probe", "head_only") for setting in SWEEP]
    assert main(smaller) == 0
    assert main([*SWEEP, "hydra.sweep.dir=o/larger"]) == 0
    assert [outcome.word for outcome in read_outcomes(Path("o/larger"))] == ["skipped", "finished"]
    assert len(runs_below(Path("o"))) == 2
    assert {path.parent.name == "larger" for path in find_run_directories(["o/larger"])} == {True, False}


def test_a_finished_run_without_the_wanted_references_is_repeated(capsys: pytest.CaptureFixture[str]) -> None:
    probe = [setting.replace("head_only,linear_probe", "linear_probe") for setting in SWEEP]
    assert main(probe) == 0
    for said in ("runs again: no raw_pixels in", "skipped: finished before"):
        assert main([*probe, "references=[raw_pixels]"]) == 0
        assert said in capsys.readouterr().out
    assert main(probe) == 0
    assert [len(run["references"]) for run in runs_below(Path("o"))] == [0, 1]


def test_all_runs_are_repeated_if_asked() -> None:
    assert main(SWEEP) == 0
    assert main([*SWEEP, "sweep.skip_finished=false"]) == 0
    assert len(runs_below(Path("o"))) == 4


def test_one_folder_is_swept_by_one_process_at_a_time(capsys: pytest.CaptureFixture[str]) -> None:
    assert main(SWEEP) == 0
    (folder,) = (path.parent for path in Path("o").glob("*/sweep.json"))
    code = (
        f"import sys; sys.path.insert(0, {str(CHECKOUT / 'src')!r})\n"
        "from pathlib import Path; from headstart.records.lock import RunLock, is_locked\n"
        f"place = Path({str(folder)!r}); assert not is_locked(place); assert RunLock(place).acquire()\n"
        "print('taken', flush=True); sys.stdin.readline()"
    )
    with subprocess.Popen([sys.executable, "-c", code], stdin=-1, stdout=-1, text=True) as other:
        assert other.stdout is not None
        assert other.stdout.readline() == "taken\n"
        assert is_locked(folder)
        assert main(SWEEP) == 2
        other.kill()
        other.wait()
    assert "is being swept by another process" in capsys.readouterr().err
    assert not is_locked(folder)
    assert main(SWEEP) == 0


def test_a_lock_ends_with_its_holder(tmp_path: Path) -> None:
    lock = RunLock(tmp_path)
    assert not is_locked(tmp_path)
    with lock:
        assert is_locked(tmp_path)
        assert not RunLock(tmp_path).acquire()
    assert not is_locked(tmp_path)
    assert list(tmp_path.iterdir()) == []


def test_runs_are_found_by_all_of_their_hash(tmp_path: Path) -> None:
    for name, config_hash in (
        ("a-12345678", "1234567890"),
        ("b-12345678", "1234567899"),
        ("c-12345678-2", "1234567890"),
    ):
        folder = tmp_path / name
        folder.mkdir()
        record = {"status": "finished", "config_hash": config_hash, "started_at": name}
        (folder / "run.json").write_text(json.dumps(record))
    (tmp_path / "e-12345678").mkdir()
    repeat = {"status": "finished", "config_hash": "1234567890", "started_at": "e", "repeats": {"run": "a"}}
    (tmp_path / "e-12345678/run.json").write_text(json.dumps(repeat))
    (tmp_path / "d-12345678").mkdir()
    (tmp_path / "d-12345678/run.json").write_text("{")
    found = earlier_runs([tmp_path, tmp_path], "1234567890")
    assert [run.directory.name for run in found] == ["a-12345678", "c-12345678-2"]


@pytest.mark.parametrize(
    ("overrides", "params", "jobs"),
    [
        (["seed=0,1,2", "strategy=a,b"], {}, 6),
        (["seed=range(4)"], {"strategy": "a,b"}, 8),
        (["seed=0,1"], {"seed": "0,1,2"}, 2),
        (["dataset.counts=[6,4,4]"], {}, 1),
    ],
)
def test_jobs_are_counted(overrides: list[str], params: dict[str, str], jobs: int) -> None:
    config = OmegaConf.create({"hydra": {"sweeper": {"params": params}, "overrides": {"task": overrides}}})
    assert count_jobs(config) == jobs


def test_outcomes_come_back_in_words(tmp_path: Path) -> None:
    outcomes = [
        JobOutcome(0, ("a=1", "b=1"), "finished", "x/one"),
        JobOutcome(1, ("a=1", "b=2"), "failed", "x/two", True, "b=2 is [odd]"),
    ]
    for outcome in reversed(outcomes):
        write_outcome(tmp_path, outcome)
    assert read_outcomes(tmp_path) == outcomes
    assert summary(outcomes, 4) == "4 runs: 1 finished, 1 failed, 2 not begun"
    table = failures_table(outcomes)
    assert "b=2 is [odd]" in table
    assert "a=1" not in table
    assert re.search(r"run .*\n.*\n +2 ", table), "counted from 1, as the line above each run"
    trial = JobOutcome(1, ("b=2", "++sweep.trial={number:1,study:s,storage:j}"), "failed", "x/two", True, "odd")
    assert re.search(r"trial .*\n.*\n +1 +b=2 +odd", failures_table([trial]))


@pytest.mark.parametrize(
    "changes",
    [{"directory": -1}, {"directory": ["x"]}, {"job": "1"}, {"job": True}, {"word": 7}, {"settings": [1]},
     {"told": "no"}, {"error": {"a": 1}}],
)  # fmt: skip
def test_damaged_outcomes_are_left_out(changes: dict[str, object], tmp_path: Path) -> None:
    good = JobOutcome(0, ("a=1",), "skipped", "x/one")
    write_outcome(tmp_path, good)
    damaged = {"job": 1, "settings": [], "word": "skipped", "directory": None, "told": False, "error": None} | changes
    (tmp_path / ".outcomes" / "000001.json").write_text(json.dumps(damaged))
    assert read_outcomes(tmp_path) == [good]


def _killed(*args: object) -> None:
    raise Killed


def _broken(*args: object) -> None:
    raise ZeroDivisionError("deep inside")


@pytest.mark.parametrize(
    ("words", "left", "at_once", "seconds"),
    [
        ([], 3, 1, None),
        (["skipped", "failed", "elsewhere", "interrupted"], 3, 1, None),
        (["finished", "skipped", "retried"], 3, 1, 30.0),
        (["pruned"], 5, 2, 30.0),
        (["resumed"], 1, 4, 10.0),
    ],
)
def test_the_time_left_is_estimated_from_runs_that_were_made(
    words: list[str], left: int, at_once: int, seconds: float | None
) -> None:
    times = {"finished": 5.0, "retried": 15.0, "skipped": 0.1, "failed": 1.0}
    outcomes = [JobOutcome(job, (), word, None, seconds=times.get(word, 10.0)) for job, word in enumerate(words)]
    assert seconds_left([*outcomes, JobOutcome(9, (), "finished", None)], left, at_once) == seconds


@pytest.mark.parametrize(
    ("launcher", "n_jobs", "expected"),
    [
        ("x.BasicLauncher", None, 1),
        ("x.joblib_launcher", 1, 1),
        ("x.SlurmLauncher", 2, None),
        ("x.ray_launcher", 2, None),
    ],
)
def test_how_many_runs_are_made_side_by_side(launcher: str, n_jobs: int | None, expected: int | None) -> None:
    config = OmegaConf.create({"launcher": {"_target_": launcher, "n_jobs": -1}, "sweeper": {"n_jobs": n_jobs}})
    assert known_at_once(config) == expected


def test_a_crash_is_reported_once_and_its_cause_is_in_the_table(
    monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    def fails(*args: object) -> None:
        try:
            raise RuntimeError("DataLoader worker (pid 7) exited unexpectedly with exit code 124. Details are lost.")
        except RuntimeError:
            raise RuntimeError("Please call `iter(combined_loader)` first.")  # noqa: B904 - as Lightning does

    monkeypatch.setattr("headstart.strategies.Strategy.begin", fails)
    assert main(SWEEP) == 1
    captured = capsys.readouterr()
    told = "headstart: The processes that load images cannot work because too many files are open; "
    assert captured.err.count(told) == 2  # a run
    assert "Traceback" not in captured.err
    assert "tried again" not in captured.out  # the limits stay the same
    (folder,) = (path.parent for path in Path("o").glob("*/sweep.json"))
    assert all("too many files are open" in str(outcome.error) for outcome in read_outcomes(folder))
    assert "what went wrong" in captured.err
