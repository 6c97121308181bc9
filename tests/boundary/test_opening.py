"""Test that only regular files inside a run are read; anything else is named."""

import os
import socket
from pathlib import Path

import pytest

from headstart.boundary.opening import MissingFileError, is_inside, open_inside, read_inside, read_text_inside
from headstart.errors import DataError

MOST = 1000


@pytest.fixture
def run(tmp_path: Path) -> Path:
    (tmp_path / "outside.txt").write_text("secret")
    (tmp_path / "run" / "checkpoints").mkdir(parents=True)
    (tmp_path / "run" / "plain.txt").write_text("text")
    return tmp_path / "run"


def make(run: Path, kind: str) -> None:
    """Put something that is no file, or no file of the run, in the place of a file."""
    path = run / "file"
    if kind == "folder":
        path.mkdir()
    elif kind == "pipe":
        os.mkfifo(path)
    elif kind == "socket":
        with socket.socket(socket.AF_UNIX) as made:
            os.chdir(run)  # the name of a socket is short
            made.bind("file")
    elif kind == "sparse":
        with path.open("wb") as file:
            file.truncate(10 * 2**30)
    elif kind == "large":
        path.write_bytes(b"x" * (MOST + 1))
    elif kind == "bytes":
        path.write_bytes(b"a\xff")
    else:
        path.symlink_to(kind)


@pytest.mark.parametrize(
    ("kind", "why"),
    [
        ("folder", "it is a folder, expected a file"),
        ("pipe", "it is a pipe, expected a file"),
        ("socket", "it is a socket, expected a file"),
        ("sparse", "it has 10 GB, and at most 1000 bytes are read"),
        ("large", "it has 1001 bytes, and at most 1000 bytes are read"),
        ("bytes", "byte 1 is no UTF-8"),
        ("/dev/zero", "it is a link that leads out of the run directory"),
        ("../outside.txt", "it is a link that leads out of the run directory"),
        ("../run2/plain.txt", "it is a link that leads out of the run directory"),
        ("nothing", "it is a link to nothing"),
        ("file", "it is a link that leads nowhere, expected a file"),
        ("checkpoints", "it is a folder, expected a file"),
    ],
)
def test_what_is_not_read(run: Path, kind: str, why: str) -> None:
    (run.parent / "run2").mkdir()
    (run.parent / "run2" / "plain.txt").write_text("of another run")
    make(run, kind)
    with pytest.raises(DataError, match=rf"^file cannot be read \(({why})\)$"):
        read_text_inside(run, "file", MOST)
    assert is_inside(run, "file") == (kind in ("sparse", "large", "bytes"))


@pytest.mark.parametrize("name", ["none", "plain.txt/below", "none/below"])
def test_a_missing_file(run: Path, name: str) -> None:
    with pytest.raises(MissingFileError, match=f"^{name} is missing$"):
        open_inside(run, name, MOST)


def test_a_folder_that_is_a_link_out(run: Path) -> None:
    (run / "explain").symlink_to(run.parent)
    with pytest.raises(DataError, match="leads out of the run directory"):
        open_inside(run, "explain/outside.txt", MOST)


def test_links_that_stay(run: Path) -> None:
    (run / "last.txt").symlink_to("plain.txt")
    (run.parent / "link").symlink_to("run")
    (run.parent / "link2").symlink_to("link")
    for directory in (run, run.parent / "link", run.parent / "link2", Path("link2")):
        for name in ("plain.txt", "last.txt"):
            assert read_inside(directory, name, MOST) == b"text"


def test_odd_names_are_no_traceback(run: Path) -> None:
    for name in ("a\0b", "x" * 5000, "\ud800"):
        with pytest.raises(DataError):
            open_inside(run, name, MOST)
