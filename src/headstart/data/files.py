"""Pictures in class folders, and pictures listed in a CSV file."""

import csv
from pathlib import Path
from typing import Any

import numpy as np

from headstart.data.collection import Collection
from headstart.data.module import SPLIT_NAMES, SPLITS, PictureData, split_name
from headstart.errors import ConfigError, DataError, nearest

EXTENSIONS = (".jpg", ".jpeg", ".png", ".bmp", ".gif", ".webp", ".tif", ".tiff", ".ppm", ".pgm")


class ImageFolder(PictureData):
    """One folder a class, either right below the root or below train, val and test folders (val and test optional)."""

    def default_name(self, root: str | None) -> str:
        """The name of the folder."""
        return Path(root).resolve().name if root else "image_folder"

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
        class_names = [folder.name for folder in _folders(sources["train"])]
        if not class_names:
            raise DataError(f"'{sources['train']}' holds no class folders; expected one folder of pictures a class.")
        return class_names, {name: self._read(folder, root, class_names, name) for name, folder in sources.items()}

    def _read(self, folder: Path, root: Path, class_names: list[str], split: str) -> Collection:
        paths: list[Path] = []
        targets: list[int] = []
        for class_folder in _folders(folder):
            if class_folder.name not in class_names:
                raise DataError(
                    f"Class '{class_folder.name}' of {split} is missing in train."
                    + nearest(class_folder.name, class_names)
                )
            pictures = list_pictures(class_folder)
            if not pictures:
                raise DataError(f"The class folder '{class_folder}' is empty: it holds no picture that can be read.")
            paths += pictures
            targets += [class_names.index(class_folder.name)] * len(pictures)
        ids = [path.relative_to(root).as_posix() for path in paths]
        return Collection(ids, np.array(targets, dtype=np.int64), paths)


class CsvFile(PictureData):
    """Pictures listed in a CSV file with a header: a path, a label and, if wanted, a split (train, val or test).

    Paths are absolute, or relative to ``pictures`` (by default the file's own folder).
    """

    def __init__(
        self,
        path_column: str = "path",
        label_column: str = "label",
        split_column: str = "split",
        pictures: str | None = None,
        **kwargs: Any,
    ) -> None:
        super().__init__(**kwargs)
        self.columns = (path_column, label_column)
        self.split_column, self.pictures = split_column, pictures

    def default_name(self, root: str | None) -> str:
        """The name of the file."""
        return Path(root).resolve().stem if root else "csv"

    def collect(self) -> tuple[list[str], dict[str, Collection]]:
        """Classes are the labels of train, by name; rows without a split, or without that column, are train."""
        file = Path(_needed(self.root))
        if not file.is_file():
            raise DataError(f"There is no file '{file}'; dataset.root has to name a CSV file with columns path,label.")
        base = Path(self.pictures) if self.pictures else file.parent
        rows: dict[str, list[tuple[str, str]]] = {}
        lines: dict[Path, int] = {}
        for number, row in enumerate(_read_rows(file, self.columns), start=2):
            path, label = ((row[column] or "").strip() for column in self.columns)
            split = split_name((row.get(self.split_column) or "").strip() or "train")
            if not path or not label:
                raise DataError(f"Line {number} of '{file}' has no {'path' if not path else 'label'}.")
            if not (base / path).is_file():
                raise DataError(f"Line {number} of '{file}' names '{base / path}', and there is no such file.")
            if split not in (*SPLITS, self.test_split):
                raise DataError(
                    f"Line {number} of '{file}' has the split '{split}'; expected train, val or test, or the one that"
                    f" dataset.test_split names.{nearest(split, ['train', 'val', 'test'])}"
                )
            place = (base / path).resolve()
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
                [path for path, _ in entries],
                np.array([class_names.index(label) for _, label in entries], dtype=np.int64),
                [base / path for path, _ in entries],
            )
            for split, entries in rows.items()
        }


def existing_folder(root: str | None) -> Path:
    """The root as a path; refused when it is no folder."""
    path = Path(_needed(root))
    if path.is_dir():
        return path
    near = [str(entry) for entry in path.parent.iterdir()] if path.parent.is_dir() else []
    hint = nearest(str(path), near) if near else ""
    hint = hint if hint.startswith(" Did") else ""
    raise DataError(f"dataset.root={root}: there is no such folder.{hint}")


def list_pictures(folder: Path) -> list[Path]:
    """Picture files in a folder and below it, by name."""
    return sorted(
        path
        for path in folder.rglob("*")
        if path.suffix.lower() in EXTENSIONS and not path.name.startswith(".") and path.is_file()
    )


def _folders(root: Path) -> list[Path]:
    return sorted(path for path in root.iterdir() if path.is_dir() and not path.name.startswith((".", "__")))


def _needed(root: str | None) -> str:
    if not root:
        raise ConfigError("dataset.root is not set: give the place of your pictures, as in dataset.root=my_pictures.")
    return root


def _read_rows(file: Path, columns: tuple[str, str]) -> list[dict[str, str]]:
    try:
        with file.open(newline="", encoding="utf-8-sig") as lines:
            reader = csv.DictReader(lines)
            header = reader.fieldnames or []
            for column in columns:
                if column not in header:
                    raise DataError(f"'{file}' has no column '{column}'; its header reads {', '.join(header)!r}.")
            return list(reader)
    except UnicodeDecodeError as error:
        raise DataError(f"'{file}' is not a CSV file in UTF-8.") from error
