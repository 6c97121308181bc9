"""Test which files count as images, which folders are searched, and how other files are reported."""

import os
import shutil
from collections.abc import Callable
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from PIL import Image

from headstart.inputs import found
from headstart.inputs.decoding import Decoder
from headstart.inputs.found import Folder, files_by_suffix, is_image, walk


def image(path: Path, form: str) -> Path:
    path.parent.mkdir(parents=True, exist_ok=True)
    Image.fromarray(np.arange(48 * 3, dtype=np.uint8).reshape(6, 8, 3)).save(path, format=form)
    return path


def touched(root: Path, *names: str) -> Path:
    """Make empty files below a folder, which count by their names."""
    for name in names:
        (root / name).parent.mkdir(parents=True, exist_ok=True)
        (root / name).touch()
    return root


def names(folder: Folder) -> list[str]:
    return [path.relative_to(folder.path).as_posix() for path in folder.every_image()]


@pytest.mark.parametrize(
    ("name", "form"),
    [
        ("a.jpg", "JPEG"), ("a.JPEG", "JPEG"), ("a.png", "PNG"), ("a.avif", "AVIF"), ("a.jp2", "JPEG2000"),
        ("a.webp", "WEBP"), ("a.tif", "TIFF"), ("a.TIFF", "TIFF"), ("a.bmp", "BMP"), ("a.gif", "GIF"),
        ("a.ppm", "PPM"), ("a.tga", "TGA"), ("a.ico", "ICO"), ("a", "JPEG"), ("12.345", "PNG"), ("a.jpg_large", "JPEG"),
        ("a.dat", "WEBP"), ("b.tmp", "AVIF"), ("c", "JPEG2000"), ("d", "TIFF"), ("Dr. who at work", "GIF"),
    ],
)  # fmt: skip
def test_whatever_can_be_decoded_is_an_image(tmp_path: Path, name: str, form: str) -> None:
    path = image(tmp_path / name, form)
    assert names(walk(tmp_path)) == [name]
    assert is_image(path)
    assert min(Decoder(4)(path).shape[:2]) == 4


@pytest.mark.parametrize(
    ("name", "content"),
    [
        ("a.txt", b"0 0.5 0.5 0.1 0.1"), ("a", b"words"), ("a.json", b"{}"), ("Thumbs.db", b"\xd0\xcf\x11\xe0"),
        ("a.pdf", b"%PDF-1.4"), ("a.eps", b"%!PS-Adobe-3.0 EPSF-3.0"), ("a.npy", b"\x93NUMPY"), ("a.bin", bytes(99)),
        ("a.csv", b"P3,label"), ("a.h5", b"\x89HDF\r\n\x1a\n"), ("b", b"\xff\xd8\xff"), ("c", b""), ("BM", b"BM words"),
        ("a.zip", b"PK"), ("a.nef", b"II*\0"),
    ],
)  # fmt: skip
def test_other_files_are_none(tmp_path: Path, name: str, content: bytes) -> None:
    (tmp_path / name).write_bytes(content)
    folder = walk(tmp_path)
    assert not folder.every_image()
    assert folder.others == [name]


def test_files_with_the_suffix_of_an_image_are_not_opened(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    touched(tmp_path, "a/0.jpg", "a/1.PNG", "b/c/2.webp", "b/notes.pdf")

    def opened(*_: Any, **__: Any) -> None:
        raise AssertionError("opened")

    monkeypatch.setattr(Image, "open", opened)
    assert names(walk(tmp_path)) == ["a/0.jpg", "a/1.PNG", "b/c/2.webp"]


def test_pipes_are_not_opened(tmp_path: Path) -> None:
    os.mkfifo(tmp_path / "pipe")
    assert walk(tmp_path).others == ["pipe"]


def test_files_that_systems_add_are_skipped(tmp_path: Path) -> None:
    touched(tmp_path, ".DS_Store", ".hidden/0.jpg", "__MACOSX/0.jpg", "a/._0.jpg", "@eaDir/0.jpg", "__unknown__/0.jpg")
    folder = walk(tmp_path)
    assert names(folder) == ["__unknown__/0.jpg"]
    assert not [name for one in folder.below() for name in one.others]


def links(root: Path) -> dict[str, str]:
    top = walk(root)
    return {
        one.path.relative_to(root).as_posix(): os.path.relpath(one.same_as, root) for one in top.below() if one.same_as
    }


def test_links_to_folders_are_followed(tmp_path: Path) -> None:
    touched(tmp_path, "set/a/0.jpg", "elsewhere/deep/1.jpg", "elsewhere/2.jpg")
    (tmp_path / "set/a/linked").symlink_to(tmp_path / "elsewhere")
    assert names(walk(tmp_path / "set")) == ["a/0.jpg", "a/linked/2.jpg", "a/linked/deep/1.jpg"]
    assert not links(tmp_path / "set")


@pytest.mark.parametrize(
    ("made", "expected"),
    [
        ({"a/up": "."}, {"a/up": "."}),
        ({"a/up": ".."}, {"a/up": ".."}),
        ({"a/self": "a"}, {"a/self": "a"}),
        ({"a/b": "b"}, {"a/b": "b"}),
        ({"a/one": "b", "b/two": "a"}, {"a/one": "b", "b/two": "a"}),
        ({"a/x": "../elsewhere", "b/x": "../elsewhere"}, {"b/x": "a/x"}),
        ({"a/x": "../elsewhere", "a/y": "../elsewhere/in"}, {"a/y": "a/x/in"}),
    ],
)
def test_no_folder_counts_twice(tmp_path: Path, made: dict[str, str], expected: dict[str, str]) -> None:
    root = touched(tmp_path, "set/a/0.jpg", "set/b/0.jpg", "elsewhere/0.jpg", "elsewhere/in/1.jpg") / "set"
    for name, target in made.items():
        (root / name).symlink_to((root / target).resolve())
    assert links(root) == expected
    images = [os.path.realpath(path) for path in walk(root).every_image()]
    assert len(images) == len(set(images)) == (4 if "a/x" in made else 2)


def test_files_are_counted_by_suffix_with_a_remedy() -> None:
    files = ["a.txt", "b.TXT", "c.json", "d.heic", "e.heic", "f.heic", "README", "Dr. who at work"]
    assert files_by_suffix(files) == "3 .heic (install pillow-heif), 2 without suffix, 2 .txt, 1 .json"
    assert files_by_suffix([]) == ""


def test_suffixes_are_read_once_pillow_knows_them() -> None:
    assert {".jpg", ".png", ".tif", ".webp", ".gif", ".jp2"} <= found.image_suffixes()
    assert not {".pdf", ".eps", ".ps", ".mpg", ".h5", ".wmf"} & found.image_suffixes()


def test_a_folder_that_cannot_be_listed_is_named(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    touched(tmp_path, "a/0.jpg")
    listed: Callable[..., Any] = os.scandir

    def closed(folder: Any) -> Any:
        if str(folder).endswith("a"):
            raise PermissionError(13, "Permission denied", str(folder))
        return listed(folder)

    monkeypatch.setattr(os, "scandir", closed)
    with pytest.raises(found.DataError, match=r"The folder '.*a' cannot be read: Permission denied"):
        walk(tmp_path)


def test_a_folder_is_listed_again_only_if_it_may_have_changed(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(found, "JUST", -1)  # else a folder that has just changed is never kept
    root = touched(tmp_path / "root", "a/1.jpg", "b/2.jpg", "b/about.csv")
    first = walk(root)
    assert walk(root) is first
    touched(root, "b/3.jpg")
    assert names(walk(root)) == ["a/1.jpg", "b/2.jpg", "b/3.jpg"]
    (root / "a").rename(root / "c")
    assert names(walk(root)) == ["b/2.jpg", "b/3.jpg", "c/1.jpg"]
    shutil.rmtree(root / "c")
    assert names(walk(root)) == ["b/2.jpg", "b/3.jpg"]


def test_a_file_that_becomes_an_image_and_a_folder_behind_a_link_are_seen(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(found, "JUST", -1)
    root = touched(tmp_path / "root", "a/1.jpg", "a/scan")
    assert names(walk(root)) == ["a/1.jpg"]
    (root / "a/scan").write_bytes(image(tmp_path / "x.png", "PNG").read_bytes())  # the folder's time stays
    assert names(walk(root)) == ["a/1.jpg", "a/scan"]
    (root / "link").symlink_to(touched(tmp_path / "elsewhere", "2.jpg"))
    assert walk(root).image_count == 3
    touched(tmp_path / "elsewhere", "3.jpg")
    assert walk(root).image_count == 4


def test_a_folder_that_has_just_changed_is_not_kept(tmp_path: Path) -> None:
    root = touched(tmp_path, "a/1.jpg")
    assert walk(root) is not walk(root)
