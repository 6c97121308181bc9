"""Read torchvision's data sets. Their files are downloaded, or put in place by hand."""

import contextlib
import glob
import gzip
import io
import tarfile
import zlib
from collections.abc import Iterator, Sequence
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

import numpy as np
import torchvision
from numpy.typing import NDArray

from headstart.data.module import ImageData
from headstart.errors import ConfigError, DataError, nearest
from headstart.files import expanded
from headstart.inputs.collection import Collection, Undecoded
from headstart.inputs.content import files_hash
from headstart.inputs.decoding import raising_unreadable
from headstart.inputs.facts import Facts
from headstart.settings.leaf_table import check_parameters


@dataclass(frozen=True)
class Recipe:
    """The class, files and splits of one of torchvision's data sets."""

    cls: str  # the name of torchvision's class
    files: str  # the files to fetch by hand
    place: str  # where to put them, below the root
    splits: dict[str, dict[str, Any]] = field(default_factory=lambda: {"train": {}})  # arguments of the class
    holds: str = "**/*"  # pattern of the data set's files below ``place``


BY_FLAG = {"train": {"train": True}, "test": {"train": False}}
BY_NAME = {"train": {"split": "train"}, "test": {"split": "test"}}
IN_THREE = {"train": {"split": "train"}, "validation": {"split": "val"}, "test": {"split": "test"}}
CIFAR = "https://www.cs.toronto.edu/~kriz"
VGG = "https://www.robots.ox.ac.uk/~vgg/data"
PACKED = (".gz", ".tgz", ".tar", ".zip")  # archives beside their unpacked files
IDX = tuple(f"{part}-{kind}-ubyte" for part in ("train", "t10k") for kind in ("images-idx3", "labels-idx1"))
RECIPES = {
    "fashion_mnist": Recipe(
        "FashionMNIST",
        f"{', '.join(f'{name}.gz' for name in IDX)} (http://fashion-mnist.s3-website.eu-central-1.amazonaws.com,"
        " or Debian's package dataset-fashion-mnist)",
        "FashionMNIST/raw",
        BY_FLAG,
    ),
    "cifar10": Recipe("CIFAR10", f"{CIFAR}/cifar-10-python.tar.gz", "", BY_FLAG, "cifar-10-batches-py/*"),
    "cifar100": Recipe("CIFAR100", f"{CIFAR}/cifar-100-python.tar.gz", "", BY_FLAG, "cifar-100-python/*"),
    "svhn": Recipe(
        "SVHN",
        "train_32x32.mat and test_32x32.mat from http://ufldl.stanford.edu/housenumbers",
        "",
        BY_NAME,
        "*_32x32.mat",
    ),
    "stl10": Recipe(
        "STL10", "http://ai.stanford.edu/~acoates/stl10/stl10_binary.tar.gz", "", BY_NAME, "stl10_binary/*"
    ),
    "flowers102": Recipe(
        "Flowers102",
        f"102flowers.tgz, imagelabels.mat and setid.mat from {VGG}/flowers/102 (the archive unpacked)",
        "flowers-102",
        IN_THREE,
    ),
    "oxford_pets": Recipe(
        "OxfordIIITPet",
        f"images.tar.gz and annotations.tar.gz from {VGG}/pets/data (both unpacked)",
        "oxford-iiit-pet",
        {"train": {"split": "trainval"}, "test": {"split": "test"}},
    ),
    "dtd": Recipe("DTD", f"{VGG.replace('data', 'data/dtd')}/download/dtd-r1.0.1.tar.gz (unpacked)", "dtd", IN_THREE),
    "eurosat": Recipe("EuroSAT", "https://huggingface.co/datasets/torchgeo/eurosat, EuroSAT.zip (unpacked)", "eurosat"),
    "food101": Recipe(
        "Food101", "http://data.vision.ee.ethz.ch/cvl/food-101.tar.gz (unpacked)", "", BY_NAME, "food-101/**/*"
    ),
    "caltech101": Recipe(
        "Caltech101",
        "caltech-101.zip from https://data.caltech.edu/records/mzrjq-6wc02, and from it"
        " 101_ObjectCategories.tar.gz and Annotations.tar (both unpacked)",
        "caltech101",
    ),
}


class TorchvisionSet(ImageData):
    """One of torchvision's data sets, with the splits of its authors.

    ``download`` fetches missing files. If the download fails, the error names the files and where to put them.
    """

    def __init__(
        self, set_name: str, root: str | None = "data", name: str | None = None, download: bool = True, **kwargs: Any
    ) -> None:
        super().__init__(root, name or set_name, **kwargs)
        check_parameters("dataset", locals())
        if set_name not in RECIPES:
            raise ConfigError(f"There is no torchvision data set '{set_name}'.{nearest(set_name, RECIPES)}")
        self.set_name, self.recipe, self.download = set_name, RECIPES[set_name], download

    def collect(self) -> tuple[list[str], dict[str, Collection]]:
        """Return the class names and the authors' splits as train, validation and test."""
        root = self._place()
        if self.set_name == "fashion_mnist" and (folder := find_idx(root)) is not None:
            return list(torchvision.datasets.FashionMNIST.classes), read_idx_splits(folder)
        sets = {split: self._open(root, arguments) for split, arguments in self.recipe.splits.items()}
        class_names = _class_names(sets["train"])
        return class_names, {split: as_collection(opened, split) for split, opened in sets.items()}

    def source_hash(self, facts: Facts) -> str | None:
        """Return one hash of the data set's files, or of its images if it has no files."""
        if not self._files():
            self.found()  # downloads them
        files = self._files()
        return files_hash(files, facts) if files else super().source_hash(facts)

    def _place(self) -> Path:
        return expanded(str(self.root or "data"))

    def _files(self) -> list[Path]:
        """Return the files of the data set that exist."""
        root = self._place()
        if self.set_name == "fashion_mnist" and (folder := find_idx(root)) is not None:
            return [path if (path := folder / name).is_file() else folder / f"{name}.gz" for name in IDX]
        place = root / self.recipe.place
        names = glob.glob(self.recipe.holds, root_dir=place, recursive=True)  # noqa: PTH207  # follows links
        return sorted(path for name in names if (path := place / name).is_file() and path.suffix not in PACKED)

    def _open(self, root: Path, arguments: dict[str, Any]) -> Any:
        cls = getattr(torchvision.datasets, self.recipe.cls)
        printed = io.StringIO()
        try:
            with contextlib.redirect_stdout(printed):
                with contextlib.suppress(RuntimeError, FileNotFoundError):
                    return cls(str(root), download=False, **arguments)
                if not self.download:
                    raise FileNotFoundError("missing, and dataset.download=false")
                root.mkdir(parents=True, exist_ok=True)
                with archives_kept_inside():
                    return cls(str(root), download=True, **arguments)
        except Exception as error:  # urllib, tarfile, zipfile, gdown and torchvision raise different errors
            raise DataError(
                f"{self.set_name} is not in '{root}' and could not be downloaded ({_first_line(error)}); fetch"
                f" {self.recipe.files} and put it into '{root / self.recipe.place}'."
            ) from error


class OpenedSet(Sequence[Undecoded]):
    """The images of one of torchvision's data sets, opened one by one."""

    def __init__(self, opened: Any) -> None:
        self.opened = opened

    def __getitem__(self, index):  # type: ignore[no-untyped-def]
        with raising_unreadable():
            return self.opened[int(index)][0].convert("RGB")

    def __len__(self) -> int:
        return len(self.opened)


@contextlib.contextmanager
def archives_kept_inside() -> Iterator[None]:
    """Make unpacking a tar file fail if a member or link in it leaves the folder.

    torchvision does not ask for this check, and Python makes it by default only from 3.14 on. zipfile needs no check.
    """
    before = vars(tarfile.TarFile).get("extraction_filter")
    tarfile.TarFile.extraction_filter = staticmethod(tarfile.data_filter)
    try:
        yield
    finally:
        tarfile.TarFile.extraction_filter = before


def as_collection(opened: Any, split: str) -> Collection:
    """Return the unopened images and their targets; torchvision's attribute of targets has different names."""
    names = ("targets", "labels", "_labels", "y")
    targets = np.asarray(next(getattr(opened, name) for name in names if hasattr(opened, name)), dtype=np.int64)
    ids = [f"{split}/{number:06d}" for number in range(len(opened))]
    return Collection(ids, targets, OpenedSet(opened))


def find_idx(root: Path) -> Path | None:
    """Return the folder with MNIST's idx files, compressed or not: the root or torchvision's folder; else None."""
    for folder in (root, root / "FashionMNIST" / "raw"):
        if all((folder / name).is_file() or (folder / f"{name}.gz").is_file() for name in IDX):
            return folder
    return None


def read_idx(folder: Path, name: str) -> NDArray[np.uint8]:
    """Return the array in an idx file of bytes (LeCun's format: two zeros, type, dimensions, lengths, values)."""
    path = folder / name
    try:
        content = path.read_bytes() if path.is_file() else gzip.decompress((folder / f"{name}.gz").read_bytes())
        dimensions = content[3]
        shape = np.frombuffer(content, ">i4", dimensions, offset=4)
        return np.frombuffer(content, np.uint8, offset=4 + 4 * dimensions).reshape(shape)
    except (OSError, EOFError, ValueError, IndexError, zlib.error) as error:
        raise DataError(f"'{path}' is damaged: it is not a complete idx file.") from error


def read_idx_splits(folder: Path) -> dict[str, Collection]:
    """Return train and test of Fashion-MNIST. Raises DataError for files with other content."""
    splits = {}
    classes = len(torchvision.datasets.FashionMNIST.classes)
    for split, part in (("train", "train"), ("test", "t10k")):
        pixels, targets = f"{part}-images-idx3-ubyte", f"{part}-labels-idx1-ubyte"
        images, labels = read_idx(folder, pixels), read_idx(folder, targets)
        if images.ndim != 3 or not images.size:
            raise DataError(
                f"'{folder / pixels}' has the shape {list(images.shape)}; expected that of grey images,"
                " such as [60000, 28, 28]."
            )
        if labels.shape != images.shape[:1] or labels.max() >= classes:
            raise DataError(
                f"'{folder / targets}' has labels of the shape {list(labels.shape)}, up to {labels.max(initial=0)};"
                f" expected [{len(images)}], one for each image, from 0 to {classes - 1}."
            )
        ids = [f"{split}/{number:06d}" for number in range(len(labels))]
        splits[split] = Collection(ids, labels.astype(np.int64), list(images))
    return splits


def _class_names(opened: Any) -> list[str]:
    for name in ("classes", "categories"):
        if hasattr(opened, name):
            return [str(value) for value in getattr(opened, name)]
    return [str(label) for label in range(int(np.max(as_collection(opened, "train").targets)) + 1)]


def _first_line(error: Exception) -> str:
    return (str(error).splitlines() or [type(error).__name__])[0].rstrip(".")
