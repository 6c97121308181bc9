"""Test that TensorBoard gets event files only: no link, no pipe, no record larger than memory."""

import os
import struct
from pathlib import Path

import pytest
from tensorboard.compat.proto.event_pb2 import Event
from tensorboard.summary.writer.record_writer import RecordWriter

from headstart.commands.board import Links
from headstart.errors import DataError
from headstart.records.events import check_events

NAME = "tensorboard/train/events.out.tfevents.0"


@pytest.fixture
def run(tmp_path: Path) -> Path:
    path = tmp_path / "run" / NAME
    path.parent.mkdir(parents=True)
    with path.open("wb") as file:
        writer = RecordWriter(file)
        for step in range(3):
            writer.write(Event(step=step).SerializeToString())
    (tmp_path / "run" / "run.json").touch()
    return tmp_path / "run"


def test_whole_and_half_files(run: Path) -> None:
    check_events(run)
    content = (run / NAME).read_bytes()
    for length in range(len(content)):  # a run is writing
        (run / NAME).write_bytes(content[:length])
        check_events(run)


def other(run: Path, kind: str) -> None:
    path = run / NAME
    if kind == "long":
        path.write_bytes(path.read_bytes() + struct.pack("<Q", 2**50) + bytes(100))
        return
    if kind in ("sparse", "zeros"):
        os.truncate(path, 10 * 2**30 if kind == "sparse" else 2**29)
        return
    if kind == "folder":
        path.parent.rename(run.parent / "train")
        path.parent.symlink_to(run.parent / "train")
        return
    if kind == "home":
        (run / "tensorboard").rename(run.parent / "tensorboard")
        (run / "tensorboard").symlink_to(run.parent / "tensorboard")
        return
    path.unlink()
    if kind == "pipe":
        os.mkfifo(path)
    else:
        path.symlink_to(kind)


@pytest.mark.parametrize(
    ("kind", "why"),
    [
        ("long", r"it has a record of 1,125,899,906,842,624 bytes"),
        ("sparse", r"it has 10 GB, and at most 1 GB are read"),
        ("zeros", "it has more than 1,000,000 records"),
        ("folder", "it is a link"),
        ("home", "it is a link"),
        ("pipe", "it is a pipe, expected a file"),
        ("/dev/zero", "it is a link"),
        ("..", "it is a link"),
    ],
)
def test_what_is_not_shown(run: Path, kind: str, why: str, capsys: pytest.CaptureFixture[str]) -> None:
    other(run, kind)
    with pytest.raises(
        DataError, match=rf"^tensorboard(/train)?(/events\.out\.tfevents\.0)? cannot be read \({why}\)$"
    ):
        check_events(run)
    (run.parent / "links").mkdir()
    links = Links(run.parent / "links", [run], None)
    for _ in range(2):
        links.renew()
    assert not list((run.parent / "links").iterdir())
    said = capsys.readouterr().err
    assert said.startswith("headstart: run is not shown: tensorboard")
    assert len(said.splitlines()) == 1


def test_what_is_shown(run: Path) -> None:
    (run.parent / "links").mkdir()
    Links(run.parent / "links", [run], None).renew()
    assert (run.parent / "links" / "run").resolve() == run / "tensorboard"
