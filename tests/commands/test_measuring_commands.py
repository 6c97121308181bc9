"""Test the folder of the results of a command."""

from pathlib import Path

import pytest
from omegaconf import OmegaConf

from headstart.commands.measuring import ResultFolder
from headstart.errors import HeadstartError


def test_the_folder_is_new_or_that_of_out() -> None:
    config = OmegaConf.create({"output_dir": "runs"})
    folders = [ResultFolder(config).make("my photos", "layers") for _ in range(2)]
    assert len(set(folders)) == 2
    assert all(folder.is_dir() and folder.parent.parent == Path("runs") for folder in folders)
    given = [ResultFolder(config, Path("a/b"), ["x.csv"]).make("my photos") for _ in range(2)]
    assert given == [Path("a/b")] * 2
    assert Path("a/b").is_dir()


def test_a_folder_that_cannot_be_written_is_refused_before_the_work() -> None:
    Path("file").touch()
    with pytest.raises(HeadstartError, match="choose another --out"):
        ResultFolder(OmegaConf.create({"output_dir": "runs"}), Path("file"))
    with pytest.raises(HeadstartError, match="choose another output_dir"):
        ResultFolder(OmegaConf.create({"output_dir": "file"}))
