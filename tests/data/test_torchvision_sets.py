"""Test torchvision's data sets: their arguments, Debian's idx files, and the message without a network."""

import gzip
import inspect
import io
import tarfile
import zipfile
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import torchvision
from PIL import Image
from torchvision.datasets.utils import extract_archive

from headstart.backbones import Preprocessing
from headstart.data import TorchvisionSet
from headstart.data.torchvision_sets import IDX, RECIPES
from headstart.errors import DataError

P = Preprocessing(16, (0.5,) * 3, (0.25,) * 3, "bilinear", 0.875)


@pytest.mark.parametrize("name", list(RECIPES))
def test_arguments_fit_torchvision_and_a_failed_download_says_what_to_fetch(
    name: str, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    recipe = RECIPES[name]
    cls = getattr(torchvision.datasets, recipe.cls)
    for arguments in recipe.splits.values():
        inspect.signature(cls).bind("root", download=True, **arguments)

    def no_network(*args: Any, **kwargs: Any) -> None:
        raise OSError("no network")

    monkeypatch.setattr("urllib.request.urlopen", no_network)
    monkeypatch.setattr("socket.create_connection", no_network)
    monkeypatch.setattr("socket.getaddrinfo", no_network)
    with pytest.raises(DataError, match=rf"{name} is not in .* could not be downloaded .*; fetch .* put it into"):
        TorchvisionSet(set_name=name, root=str(tmp_path)).prepare(P)


@pytest.mark.parametrize("attribute", ["targets", "labels", "_labels", "y"])
def test_images_and_targets_are_found(attribute: str, monkeypatch: pytest.MonkeyPatch) -> None:
    class Fake:
        classes = ("ant", "bee")

        def __init__(self, root: str, download: bool, split: str) -> None:
            setattr(self, attribute, [0, 1] * (10 if split == "train" else 3))

        def __len__(self) -> int:
            return len(getattr(self, attribute))

        def __getitem__(self, index: int) -> tuple[Image.Image, int]:
            return Image.new("L", (20, 20), 10 * index), getattr(self, attribute)[index]

    monkeypatch.setattr(torchvision.datasets, "SVHN", Fake)
    data = TorchvisionSet(set_name="svhn", root="anywhere")
    data.prepare(P)
    assert (len(data.train), len(data.validation), len(data.test)) == (16, 4, 6)
    assert data.class_names == ["ant", "bee"]
    assert data.test.image(5).mean() == 50


@pytest.mark.parametrize("kind", ["above", "absolute", "link", "zip"])
def test_archives_stay_in_their_folder(kind: str, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """torchvision unpacks the archive of the set without a check."""
    root, outside = tmp_path / "data", tmp_path / "outside"
    root.mkdir()
    outside.mkdir()
    archive = root / ("evil.zip" if kind == "zip" else "evil.tar")
    if kind == "zip":
        with zipfile.ZipFile(archive, "w") as packed:
            packed.writestr("../outside/evil", "evil")
    else:
        with tarfile.open(archive, "w") as packed:
            if kind == "link":
                link = tarfile.TarInfo("way")
                link.type, link.linkname = tarfile.SYMTYPE, "../outside"
                packed.addfile(link)
            names = {"above": "../outside/evil", "absolute": f"{outside}/evil", "link": "way/evil"}
            member = tarfile.TarInfo(names[kind])
            member.size = 4
            packed.addfile(member, io.BytesIO(b"evil"))

    class Fake:
        def __init__(self, folder: str, download: bool, split: str) -> None:
            if not download:
                raise RuntimeError("not there")
            extract_archive(str(archive), folder)
            raise RuntimeError("unpacked")

    monkeypatch.setattr(torchvision.datasets, "SVHN", Fake)
    with pytest.raises(DataError, match=r"svhn is not in .*") as raised:
        TorchvisionSet(set_name="svhn", root=str(root)).prepare(P)
    assert ("unpacked" in str(raised.value)) == (kind in ("zip", "absolute"))  # put below the folder instead
    assert not list(outside.iterdir())
    assert tarfile.TarFile.extraction_filter is None


def write_idx(folder: Path, packed: bool, images: np.ndarray, labels: np.ndarray) -> None:
    for name in IDX:
        values = images if "images" in name else labels
        lengths = np.array(values.shape, ">i4").tobytes()
        content = bytes([0, 0, 8, values.ndim]) + lengths + values.astype(np.uint8).tobytes()
        (folder / (f"{name}.gz" if packed else name)).write_bytes(gzip.compress(content) if packed else content)


@pytest.mark.parametrize("packed", [True, False])
def test_fashion_mnist_from_idx_files(packed: bool, tmp_path: Path) -> None:
    write_idx(tmp_path, packed, np.arange(30 * 28 * 28).reshape(30, 28, 28) % 251, np.arange(30) % 10)
    data = TorchvisionSet(set_name="fashion_mnist", root=str(tmp_path))
    data.prepare(P)
    assert (len(data.train), len(data.validation), len(data.test)) == (20, 10, 30)
    assert data.class_names[0] == "T-shirt/top"
    assert data.test.targets.tolist() == [i % 10 for i in range(30)]


@pytest.mark.parametrize(
    ("images", "labels", "message"),
    [
        (
            (30, 28, 28),
            np.arange(29) % 10,
            r"train-labels-idx1-ubyte' has labels of the shape \[29\].*expected \[30\], one for each",
        ),
        ((30, 28, 28), np.arange(40) % 10, r"of the shape \[40\].*expected \[30\]"),
        ((30, 28, 28), np.arange(30) % 11, r"up to 10; expected .* from 0 to 9"),
        ((30, 28, 28), np.zeros((15, 2)), r"of the shape \[15, 2\]"),
        ((30, 28, 28, 3), np.arange(30) % 10, r"train-images-idx3-ubyte' has the shape \[30, 28, 28, 3\]"),
        ((30, 28), np.arange(30) % 10, r"has the shape \[30, 28\]; expected that of grey images"),
        ((30, 0, 28), np.arange(30) % 10, r"has the shape \[30, 0, 28\]"),
    ],
)
def test_idx_files_that_do_not_go_together(
    images: tuple[int, ...], labels: np.ndarray, message: str, tmp_path: Path
) -> None:
    write_idx(tmp_path, False, np.zeros(images), labels)
    with pytest.raises(DataError, match=message):
        TorchvisionSet(set_name="fashion_mnist", root=str(tmp_path)).prepare(P)


def test_a_damaged_idx_archive(tmp_path: Path) -> None:
    write_idx(tmp_path, True, np.arange(30 * 28 * 28).reshape(30, 28, 28) % 251, np.arange(30) % 10)
    file = tmp_path / f"{IDX[0]}.gz"
    content = file.read_bytes()
    file.write_bytes(content[:12] + b"\xff" * 28 + content[40:])
    with pytest.raises(DataError, match="is damaged: it is not a complete idx file"):
        TorchvisionSet(set_name="fashion_mnist", root=str(tmp_path)).prepare(P)
