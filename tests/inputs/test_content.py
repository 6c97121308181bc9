"""Test that two data sets have one hash only if their content is the same, at any path."""

import os
import shutil
from collections.abc import Callable
from pathlib import Path

import numpy as np
import pytest

from headstart.data import CsvFile, Digits, ImageData, ImageFolder, TorchvisionSet
from headstart.inputs import content as content_under_test
from headstart.inputs.facts import Facts

Change = Callable[[Path], object]


@pytest.fixture
def root(make_folder: Callable[..., Path]) -> Path:
    root = make_folder({"train/a": 3, "train/b": 3, "test/a": 2, "test/b": 2})
    rows = [f"{path.relative_to(root)},{path.parent.name}" for path in sorted(root.rglob("*.jpg"))]
    (root / "labels.csv").write_text("\n".join(["path,label", *rows]) + "\n")
    return root


def hash_of(data: ImageData, notes: Path | None = None) -> str | None:
    return data.source_hash(Facts(notes))


def rewrite(path: Path, content: bytes) -> None:
    """Write other content with the same size and time."""
    state = path.stat()
    path.write_bytes(content.ljust(state.st_size, b"\0")[: state.st_size])
    os.utime(path, ns=(state.st_atime_ns, state.st_mtime_ns))


def edit(path: Path, old: str, new: str) -> None:
    path.write_text(path.read_text().replace(old, new))


SAME: dict[str, Change] = {
    "another time": lambda root: (root / "train/a/0.jpg").touch(),
    "a file beside them": lambda root: (root / "notes.txt").write_text("x"),
    "a link in place of a file": lambda root: (
        (root / "train/a/0.jpg").rename(root / "kept.bin"),
        (root / "train/a/0.jpg").symlink_to(root / "kept.bin"),
    ),
}
OTHER: dict[str, Change] = {
    "another name": lambda root: (root / "train/a/0.jpg").rename(root / "train/a/9.jpg"),
    "another label": lambda root: (root / "train/a/2.jpg").rename(root / "train/b/8.jpg"),
    "another split": lambda root: (root / "train/a/2.jpg").rename(root / "test/a/8.jpg"),
    "one more": lambda root: shutil.copy(root / "train/a/0.jpg", root / "train/a/7.jpg"),
    "one less": lambda root: (root / "test/a/1.jpg").unlink(),
    "another content of the same size and time": lambda root: rewrite(
        root / "train/a/0.jpg", (root / "train/b/0.jpg").read_bytes()
    ),
    "other names of classes": lambda root: [
        (root / part / "a").rename(root / part / "aa") for part in ("train", "test")
    ],
}


@pytest.mark.parametrize("name", [*SAME, *OTHER])
def test_what_makes_folders_another_data_set(name: str, root: Path, tmp_path: Path) -> None:
    before = hash_of(ImageFolder(root=str(root)), tmp_path / "notes")
    (SAME | OTHER)[name](root)
    assert (hash_of(ImageFolder(root=str(root)), tmp_path / "notes") == before) == (name in SAME)


def test_the_place_does_not_count(root: Path, tmp_path: Path) -> None:
    copied = tmp_path / "elsewhere" / "deep"
    shutil.copytree(root, copied)
    assert hash_of(ImageFolder(root=str(root))) == hash_of(ImageFolder(root=str(copied)))
    above = tmp_path / "list.csv"
    above.write_text((root / "labels.csv").read_text().replace("\nt", f"\n{root}/t"))
    lists = [
        CsvFile(root=str(root / "labels.csv")),
        CsvFile(root=str(copied / "labels.csv")),
        CsvFile(root=str(above), pictures=str(root)),  # absolute paths
    ]
    assert len({hash_of(data) for data in lists}) == 1


@pytest.mark.parametrize(
    ("old", "new"),
    [
        ("train/a/0.jpg,a", "train/a/0.jpg,b"),
        ("train/a/0.jpg,a\n", ""),
        ("train/a/0.jpg", "test/../train/b/../a/00.jpg"),
        ("path,label\n", "path,label\ntrain/b/00.jpg,b\n"),
    ],
)
def test_what_a_list_says_counts(old: str, new: str, root: Path) -> None:
    shutil.copy(root / "train/a/0.jpg", root / "train/a/00.jpg")
    shutil.copy(root / "train/b/0.jpg", root / "train/b/00.jpg")
    before = hash_of(CsvFile(root=str(root / "labels.csv")))
    edit(root / "labels.csv", old, new)
    assert hash_of(CsvFile(root=str(root / "labels.csv"))) != before


def test_two_folders_of_images_for_one_list(root: Path, tmp_path: Path) -> None:
    other = tmp_path / "other"
    shutil.copytree(root, other)
    shutil.copy(other / "train/b/0.jpg", other / "train/a/0.jpg")
    hashes = {hash_of(CsvFile(root=str(root / "labels.csv"), pictures=str(place))) for place in (root, other)}
    assert len(hashes) == 2


def test_contents_are_read_once(root: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    read: list[object] = []
    plain = content_under_test.content_hash
    monkeypatch.setattr(content_under_test, "content_hash", lambda image: (read.append(image), plain(image))[1])
    for _ in range(2):
        Facts._remembered.clear()  # as another process
        hash_of(ImageFolder(root=str(root)), tmp_path / "notes")
    assert len(read) == 10


def test_a_file_that_cannot_be_read_is_one_more_content(root: Path) -> None:
    before = hash_of(ImageFolder(root=str(root)))
    (root / "train/a/0.jpg").unlink()
    (root / "train/a/0.jpg").symlink_to("nowhere")
    assert hash_of(ImageFolder(root=str(root))) != before


def test_embedded_images_are_identified_by_their_settings() -> None:
    assert hash_of(Digits()) is None


def test_a_set_of_torchvision_is_identified_by_its_own_files(tmp_path: Path) -> None:
    def idx(values: np.ndarray) -> bytes:
        lengths = b"".join(int(side).to_bytes(4, "big") for side in values.shape)
        return bytes([0, 0, 8, values.ndim]) + lengths + values.astype(np.uint8).tobytes()

    for part, count in (("train", 20), ("t10k", 10)):
        (tmp_path / f"{part}-images-idx3-ubyte").write_bytes(idx(np.zeros((count, 28, 28))))
        (tmp_path / f"{part}-labels-idx1-ubyte").write_bytes(idx(np.arange(count) % 10))
    data = TorchvisionSet("fashion_mnist", root=str(tmp_path))
    before = hash_of(data)
    (tmp_path / "readme").write_text("another set may lie beside it")
    assert hash_of(data) == before
    (tmp_path / "t10k-labels-idx1-ubyte").write_bytes(idx(np.arange(10)[::-1]))
    assert hash_of(data) != before


def test_linked_folders_of_a_set_of_torchvision_count(tmp_path: Path, make_folder: Callable[..., Path]) -> None:
    images = make_folder({"banded": 2})
    (tmp_path / "dtd" / "dtd").mkdir(parents=True)
    (tmp_path / "dtd" / "dtd" / "imdb").touch()
    (tmp_path / "dtd" / "dtd" / "images").symlink_to(images)
    data = TorchvisionSet("dtd", root=str(tmp_path))
    before = hash_of(data)
    (images / "banded" / "0.jpg").write_bytes(b"another")
    assert hash_of(data) != before


def test_a_process_reads_a_file_again_only_if_it_has_changed(root: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(content_under_test, "_HASHED", {})
    images = sorted(root.rglob("*.jpg"))
    read: list[Path] = []
    plain = content_under_test.content_hash
    monkeypatch.setattr(content_under_test, "content_hash", lambda path: read.append(path) or plain(path))
    first = content_under_test.contents_of(images, "images")
    assert content_under_test.contents_of(images, "images") == first
    assert len(read) == 2 * len(images)  # files that have just changed are read each time
    monkeypatch.setattr(content_under_test, "JUST", -(10**12))
    content_under_test.contents_of(images, "images")
    read.clear()
    assert content_under_test.contents_of(images, "images") == first
    assert not read
    rewrite(images[0], b"other")
    changed = content_under_test.contents_of(images, "images")
    assert changed[0] != first[0]
    assert changed[1:] == first[1:]
