"""Pictures in class folders, and pictures listed in a CSV file."""

import csv
import os
from pathlib import Path
from typing import Any, NoReturn

import numpy as np

from headstart.data.collection import Collection
from headstart.data.module import SPLIT_NAMES, SPLITS, PictureData, split_name
from headstart.errors import ConfigError, DataError, nearest
from headstart.files import expanded, printable
from headstart.rules import check_dataset, existing_folder, existing_table

# Which files are pictures; what is in them is told by their first bytes, so a PNG may be called .jpg.
EXTENSIONS = tuple(".jpg .jpeg .jpe .jfif .png .apng .bmp .gif .webp .tif .tiff .ppm .pgm".split())
NOT_OURS = (".", "__MACOSX")  # how hidden files and folders begin, and what macOS puts into archives


class ImageFolder(PictureData):
    """One folder a class, either right below the root or below train, val and test folders (val and test optional).

    Hidden files and folders are passed over, and links to folders below a class; all else that is called like a
    picture is one, or is told as unreadable: broken links, pipes and devices too.
    """

    def default_name(self, root: str | None) -> str:
        """The name of the folder."""
        return real_path(Path(root)).name if root else "image_folder"

    def collect(self) -> tuple[list[str], dict[str, Collection]]:
        """Classes are the folders of train, by name."""
        root = existing_folder(self.root)
        found: dict[str, Path] = {}
        for folder in _folders(root):
            name = SPLIT_NAMES.get(folder.name.lower())
            if name in found:
                raise DataError(f"'{root}' has two {name} folders, '{found[name].name}' and '{folder.name}'; keep one.")
            if name is not None:
                found[name] = folder
        if found and "train" not in found:
            raise DataError(f"'{root}' has {' and '.join(f.name for f in found.values())} but no train folder.")
        sources = found or {"train": root}
        class_names = [printable(folder.name) for folder in _folders(sources["train"])]
        if not class_names:
            raise DataError(f"'{sources['train']}' holds no class folders; expected one folder of pictures a class.")
        return class_names, {name: self._read(folder, root, class_names, name) for name, folder in sources.items()}

    def _read(self, folder: Path, root: Path, class_names: list[str], split: str) -> Collection:
        paths: list[Path] = []
        targets: list[int] = []
        for class_folder in _folders(folder):
            name = printable(class_folder.name)
            if name not in class_names:
                raise DataError(f"Class '{name}' of {split} is missing in train.{nearest(name, class_names)}")
            _check_link(class_folder, root)
            pictures = list_pictures(class_folder)
            if not pictures:
                raise DataError(
                    f"The class folder '{class_folder}' is empty: it holds no picture{_held(class_folder)}."
                )
            paths += pictures
            targets += [class_names.index(name)] * len(pictures)
        ids = [printable(path.relative_to(root).as_posix()) for path in paths]
        return Collection(ids, np.array(targets, dtype=np.int64), paths)


class CsvFile(PictureData):
    """Pictures listed in a CSV file with a header: a path, a label and, if wanted, a split (train, val or test).

    Paths are absolute, or relative to ``pictures`` (by default the file's own folder), which neither they nor their
    links leave, unless ``allow_outside``: lists come from others, and could name any file of yours.
    """

    def __init__(
        self,
        path_column: str = "path",
        label_column: str = "label",
        split_column: str = "split",
        pictures: str | None = None,
        allow_outside: bool = False,
        **kwargs: Any,
    ) -> None:
        super().__init__(**kwargs)
        check_dataset({"allow_outside": allow_outside})
        if pictures is not None and not isinstance(pictures, str):
            raise ConfigError(f"dataset.pictures={pictures}: expected the path of a folder, or null.")
        self.allow_outside = allow_outside
        self.columns = (path_column, label_column)
        self.split_column, self.pictures = split_column, pictures

    def default_name(self, root: str | None) -> str:
        """The name of the file."""
        return real_path(Path(root)).stem if root else "csv"

    def collect(self) -> tuple[list[str], dict[str, Collection]]:
        """Classes are the labels of train, by name; rows without a split, or without that column, are train."""
        file = existing_table(self.root)
        base = expanded(str(self.pictures)) if self.pictures else file.parent
        inside = real_path(base)
        rows: dict[str, list[tuple[str, str]]] = {}
        lines: dict[Path, int] = {}
        for number, row in enumerate(_read_rows(file, self.columns), start=2):
            path, label = ((row[column] or "").strip() for column in self.columns)
            split = split_name((row.get(self.split_column) or "").strip() or "train")
            if not path or not label:
                raise DataError(f"Line {number} of '{file}' has no {'path' if not path else 'label'}.")
            place = real_path(base / path)
            if not self.allow_outside and not place.is_relative_to(inside):
                raise DataError(
                    f"Line {number} of '{file}' names '{printable(path)}', which is outside of '{base}': give the"
                    " folder of the pictures with dataset.pictures, or allow it with dataset.allow_outside=true."
                )
            if self.on_error != "skip" and not os.path.isfile(place):  # noqa: PTH113  # never raises, as Path's does
                raise DataError(
                    f"Line {number} of '{file}' names '{printable(str(base / path))}', and there is no such file."
                )
            if split not in (*SPLITS, self.test_split):
                raise DataError(
                    f"Line {number} of '{file}' has the split '{split}'; expected train, val or test, or the one that"
                    f" dataset.test_split names.{nearest(split, ['train', 'val', 'test'])}"
                )
            if place in lines:
                raise DataError(f"Line {number} of '{file}' lists '{path}' again, after line {lines[place]}; keep one.")
            lines[place] = number
            rows.setdefault(split, []).append((path, label))
        if "train" not in rows:
            raise DataError(f"'{file}' lists no training picture.")
        class_names = sorted({label for _, label in rows["train"]})
        for split, entries in rows.items():
            for _, label in entries:
                if label not in class_names:
                    raise DataError(f"Class '{label}' of {split} is missing in train.{nearest(label, class_names)}")
        return class_names, {
            split: Collection(
                [printable(path) for path, _ in entries],
                np.array([class_names.index(label) for _, label in entries], dtype=np.int64),
                [base / path for path, _ in entries],
            )
            for split, entries in rows.items()
        }


def real_path(path: Path) -> Path:
    """Absolute, all links followed as far as they lead; a loop of them, or what is no path, is no error here."""
    try:
        return Path(os.path.realpath(path))
    except ValueError:  # a zero byte
        return path.absolute()


def list_pictures(folder: Path) -> list[Path]:
    """What is called like a picture in a folder and below it, by name; raises DataError if a folder cannot be read."""
    found: list[Path] = []
    for place, folders, names in os.walk(folder, onerror=_refuse_folder):
        folders[:] = [name for name in folders if not name.startswith(NOT_OURS)]
        found += [Path(place, name) for name in names if name.lower().endswith(EXTENSIONS) and name[0] != "."]
    return sorted(found)


def _folders(root: Path) -> list[Path]:
    try:
        return sorted(path for path in root.iterdir() if path.is_dir() and not path.name.startswith((".", "__")))
    except OSError as error:
        _refuse_folder(error)


def _refuse_folder(error: OSError) -> NoReturn:
    raise DataError(f"The folder '{error.filename}' cannot be read: {error.strerror}.") from error


def _check_link(folder: Path, root: Path) -> None:
    """A class folder that leads back to what holds it would hold every class."""
    if folder.is_symlink() and real_path(root).is_relative_to(real_path(folder)):
        raise DataError(f"The class folder '{folder}' is a link to a folder that holds it; remove it.")


def _held(folder: Path) -> str:
    """What a folder without pictures holds instead."""
    names = sorted(name for _, _, names in os.walk(folder) for name in names if name[0] != ".")
    if not names:
        return ""
    return f", but {len(names)} other file{'s' * (len(names) > 1)} such as '{printable(names[0])}'"


def _read_rows(file: Path, columns: tuple[str, str]) -> list[dict[str, str]]:
    try:
        with file.open(newline="", encoding="utf-8-sig") as lines:
            reader = csv.DictReader(lines)
            header = reader.fieldnames or []
            for column in columns:
                if column not in header:
                    raise DataError(f"'{file}' has no column '{column}'; its header reads {', '.join(header)!r}.")
            return list(reader)
    except (UnicodeDecodeError, csv.Error) as error:
        raise DataError(f"'{file}' is not a CSV file in UTF-8.") from error
    except OSError as error:
        raise DataError(f"'{file}' cannot be read: {error.strerror}.") from error
