"""Test that every command that reads a damaged run names the damage, and reads all other runs."""

import json
import os
from collections.abc import Callable
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from made_runs import write_tested_run

from headstart.cli import main
from headstart.commands.board import aggregate
from headstart.records.runs import read_runs
from headstart.sweeps.status import overview

RIGHT = np.array([True, False, True] * 4)
PNG = b"\x89PNG\r\n\x1a\n" + b"\xff" * 30


def write(name: str, content: bytes) -> Callable[[Path], None]:
    def change(run: Path) -> None:
        (run / name).parent.mkdir(exist_ok=True)
        (run / name).write_bytes(content)

    return change


def link(name: str, target: str) -> Callable[[Path], None]:
    def change(run: Path) -> None:
        (run / name).unlink(missing_ok=True)
        (run / name).symlink_to(target)

    return change


def pipe(name: str) -> Callable[[Path], None]:
    def change(run: Path) -> None:
        (run / name).unlink()
        os.mkfifo(run / name)

    return change


def folder(name: str) -> Callable[[Path], None]:
    def change(run: Path) -> None:
        (run / name).unlink()
        (run / name).mkdir()

    return change


def entry(*way: str, value: Any) -> Callable[[Path], None]:
    def change(run: Path) -> None:
        content = home = json.loads((run / "run.json").read_text())
        for name in way[:-1]:
            home = home[name]
        home[way[-1]] = value
        (run / "run.json").write_text(json.dumps(content))

    return change


@pytest.mark.parametrize(
    ("change", "reason", "counted"),
    [
        (pipe("run.json"), "run.json cannot be read (it is a pipe, expected a file)", False),
        (folder("run.json"), "run.json cannot be read (it is a folder, expected a file)", False),
        (link("run.json", "/dev/zero"), "run.json cannot be read (it is a link that leads out of the run", False),
        (link("run.json", "../whole/run.json"), "run.json cannot be read (it is a link that leads out", False),
        (write("run.json", b"[" * 200_000), "run.json cannot be read (", False),
        (entry("strategy", value="x" * 10**6), "run.json has no name of the strategy", False),
        (entry("augmentation", value=[{"a": 1}]), "run.json has an augmentation that is not a list of names", False),
        (entry("seed", value=10**400), "run.json has the seed inf, which is not a whole number", False),
        (entry("schema", value="x" * 10**6), f"run.json has schema '{'x' * 38}…, this version reads 1", False),
        (entry("metrics", "test/accuracy", value=1e200), "run.json has no test/accuracy", False),
        (entry("cost", "train_seconds", value=1e200), "'train_seconds' of 1e+200, which no run costs: it is", True),
        (entry("cost", "train_seconds", value=-1), "'train_seconds' of -1, which no run costs: it is left out", True),
        (write("config.yaml", b"[" * 200_000), "config.yaml cannot be read (it is nested more than 64 deep)", True),
        (write("config.yaml", b"a: &a [1]\nb: *a"), "config.yaml cannot be read (it holds an alias, which no", True),
        (link("config.yaml", "/dev/zero"), "config.yaml cannot be read (it is a link that leads out", True),
        (pipe("metrics.csv"), "metrics.csv cannot be read (it is a pipe, expected a file), so its curve is not", True),
        (write("metrics.csv", b"a\n1\n"), "metrics.csv has no column 'epoch', so its curve is not drawn", True),
        (write("metrics.csv", b"epoch\n-1\n"), "metrics.csv has an epoch that is below 0 or too large, so its", True),
        (write("metrics.csv", b"epoch," * 30_000), "metrics.csv cannot be read (it has 30,001 columns", True),
        (pipe("predictions.csv"), "predictions.csv cannot be read (it is a pipe, expected a file)", True),
        (write("predictions.csv", b"id,target,prediction,a,b\n1,a,a,1e200,0\n"), "probabilities outside 0 to 1", True),
        (write("robustness.json", b'{"schema": 1e999}'), "robustness.json has schema inf, this version reads 1", True),
        (write("explain/mistakes.png", PNG), "explain/mistakes.png cannot be read (it is cut off or damaged), s", True),
    ],
)  # fmt: skip
def test_damage_is_named(
    change: Callable[[Path], None], reason: str, counted: bool, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    runs = tmp_path / "runs"
    for name, strategy in (("whole", "scratch"), ("other", "head_only")):
        write_tested_run(runs, strategy, 0, RIGHT).rename(runs / name)
    damaged = write_tested_run(runs, "scratch", 1, RIGHT)
    change(damaged)
    found = read_runs([runs])
    assert len(found.runs) == 2 + counted
    assert main(["report", str(runs), "--no-figures", "--out", str(tmp_path / "out")]) == 0
    text = (tmp_path / "out" / "report.md").read_text().replace("\\", "")
    assert reason in text
    assert damaged.name in text
    assert main(["status", str(runs)]) == 0
    said = capsys.readouterr().out
    if reason.startswith("run.json cannot"):
        assert reason in said
        assert "1 damaged" in said
    assert {run.status for run in overview([runs]).runs} <= {"finished", "damaged"}
    assert main(["diff", str(damaged), str(runs / "whole")]) in (0, 2)


def test_other_test_images_by_damage_take_no_run_down(tmp_path: Path) -> None:
    provenance = {"split_fingerprints": {"test": "a" * 64}}
    for seed in range(3):
        run = write_tested_run(tmp_path / "runs", "scratch", seed, RIGHT, provenance=provenance)
    content = (run / "predictions.csv").read_text()
    (run / "predictions.csv").write_text(content.replace("test/0.jpg", "test/odd.jpg"))
    assert main(["report", str(tmp_path / "runs"), "--no-figures", "--out", str(tmp_path / "out")]) == 0
    text = (tmp_path / "out" / "report.md").read_text().replace("\\", "")
    assert text.count("predictions.csv lists other images than other runs on the same test set") == 1


def test_a_damaged_sweep_is_named(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    write_tested_run(tmp_path / "runs", "scratch", 0, RIGHT)
    for content, why in (("[]", "does not hold a JSON object"), ("{", "cannot be read (Expecting property name")):
        (tmp_path / "runs" / "sweep.json").write_text(content)
        assert main(["status", str(tmp_path / "runs")]) == 0
        assert f"runs: sweep.json {why}" in capsys.readouterr().out


def test_nothing_is_written_through_a_link(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    runs, outside = tmp_path / "runs", tmp_path / "outside"
    outside.mkdir()
    run = write_tested_run(runs, "scratch", 0, RIGHT)
    (runs / "report").symlink_to(outside)
    (run / "explain").symlink_to(outside)
    for command in (["report", str(runs)], ["board", str(runs), "--port", "0"], ["explain", str(run)]):
        assert main(command) == 2
        assert "is a link that leads out of '" in capsys.readouterr().err
    assert not list(outside.iterdir())
    assert main(["report", str(runs), "--no-figures", "--out", str(runs / "report")]) == 0, "the user says so"
    assert list(outside.iterdir())


def test_runs_reached_through_a_link(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    run = write_tested_run(tmp_path / "elsewhere", "scratch", 0, RIGHT)
    (tmp_path / "runs").symlink_to("elsewhere")
    (tmp_path / "run").symlink_to(run)
    for path in ("runs", "run", "run/run.json"):
        assert [found.directory for found in read_runs([tmp_path / path]).runs] == [run]
    assert main(["status", str(tmp_path / "run")]) == 0
    assert main(["diff", str(tmp_path / "run"), str(run)]) == 0
    assert aggregate([tmp_path / "run"]) == tmp_path / "run" / "report" / "tensorboard"
