"""Test that runs and sweeps are found among any other files, and that the search ends."""

import os
import subprocess
import sys
from pathlib import Path

from headstart.records.finding import homes_below


def found(folder: Path, **settings: bool) -> set[tuple[str, str]]:
    return {(kind, str(home.relative_to(folder))) for kind, home in homes_below(folder, **settings)}


def test_homes(tmp_path: Path) -> None:
    for name in ("a/run.json", "a/b/run.json", "s/sweep.json", "s/c/run.json", ".hidden/d/run.json"):
        (tmp_path / name).parent.mkdir(parents=True, exist_ok=True)
        (tmp_path / name).touch()
    (tmp_path / "folder" / "run.json").mkdir(parents=True)
    (tmp_path / "loop").symlink_to(tmp_path)
    (tmp_path / "dangling").mkdir()
    (tmp_path / "dangling" / "run.json").symlink_to("nothing")
    seen = {("run", "a"), ("sweep", "s"), ("run", "s/c"), ("run", "folder"), ("run", "dangling")}
    assert found(tmp_path, hidden=False) == seen
    assert found(tmp_path) == seen | {("run", ".hidden/d")}
    assert found(tmp_path / "a") == {("run", ".")}


def test_folders_deeper_than_python_recurses(tmp_path: Path) -> None:
    depth = sys.getrecursionlimit() + 200
    here = os.open(tmp_path, os.O_RDONLY)
    for _ in range(depth):
        os.mkdir("d", dir_fd=here)
        below = os.open("d", os.O_RDONLY, dir_fd=here)
        os.close(here)
        here = below
    os.close(os.open("run.json", os.O_CREAT, dir_fd=here))
    os.close(here)
    try:
        assert [kind for kind, _ in homes_below(tmp_path)] == ["run"]
    finally:
        subprocess.run(["rm", "-r", str(tmp_path / "d")], check=True)  # Python's own way recurses


def test_a_folder_that_cannot_be_listed_counts_as_a_run(tmp_path: Path, monkeypatch) -> None:  # type: ignore[no-untyped-def]
    (tmp_path / "closed").mkdir()
    plain = os.scandir

    def scandir(place: str):  # type: ignore[no-untyped-def]
        if str(place).endswith("closed"):
            raise PermissionError(13, "Permission denied")
        return plain(place)

    monkeypatch.setattr(os, "scandir", scandir)
    assert found(tmp_path) == {("run", "closed")}
