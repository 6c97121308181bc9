"""Test paths with a home folder."""

from pathlib import Path

import pytest

from headstart.data import CsvFile, ImageFolder
from headstart.errors import DataError
from headstart.files import expanded, hint_beside


def test_a_home_folder_is_found_and_an_unknown_one_left_alone(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("HOME", "/home/someone")
    assert expanded("~/images") == Path("/home/someone/images")
    assert expanded(Path("~/images")) == Path("/home/someone/images")
    assert expanded("~nosuchuser/images") == Path("~nosuchuser/images")
    assert expanded("images/~") == Path("images/~")


def test_images_of_an_unknown_user_are_not_there(tmp_path: Path) -> None:
    table = tmp_path / "list.csv"
    table.write_text("path,label\na.png,a\n")
    for data in (
        ImageFolder(root="~nosuchuser/x"),
        CsvFile(root="~nosuchuser/x.csv"),
        CsvFile(root=str(table), pictures="~nosuchuser/x"),
    ):
        with pytest.raises(DataError, match=r"there is no such f|There is no file"):
            data.collect()


def test_a_hint_compares_names_of_what_fits(tmp_path: Path) -> None:
    below = tmp_path / ("long" * 20)  # all whole paths here are alike
    (below / "images").mkdir(parents=True)
    (below / "runs").mkdir()
    (below / "image.csv").touch()
    (below / ".hidden").touch()
    assert hint_beside(below / "image", Path.is_dir) == " Did you mean 'images'?"
    assert hint_beside(below / "image.cvs") == " Did you mean 'image.csv'?"
    assert hint_beside(below / "hidden") == ""
    assert hint_beside(below / "lists") == ""
    assert hint_beside(below / "none" / "images") == ""
