"""Read a data set from a CSV file that lists images."""

from collections import Counter
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, replace
from pathlib import Path
from typing import Any

from numpy.typing import NDArray

from headstart.data.listed import ListedFiles, count_beside
from headstart.data.module import ImageData
from headstart.data.table import ListTable, like_split, read_table
from headstart.errors import ConfigError, DataError, nearest
from headstart.files import printable
from headstart.inputs.collection import Collection
from headstart.inputs.found import images_text, real_path
from headstart.settings.leaves import as_list
from headstart.settings.rules import (
    check_dataset,
    existing_images,
    existing_table,
    given_classes,
    given_splits,
)
from headstart.settings.split_names import SPLITS, split_name
from headstart.targets.several import SeveralTargets

SHOWN = 4  # unused columns named in a note


@dataclass(frozen=True)
class Columns:
    """The index of each column in a row."""

    path: int
    targets: Sequence[int]
    split: int | None
    group: int | None


@dataclass(frozen=True)
class ListedRow:
    """One image in the list."""

    line: int  # in the file, from 1
    path: str
    cells: tuple[str, ...]  # of the target columns
    split: str
    group: str | None


class CsvFile(ImageData):
    """Images listed in a CSV file with a header: a path, a label and, optionally, a split and a group.

    ``targets`` names columns that replace the label: numbers to predict, or 0 and 1 for each of several labels.

    Paths are absolute, or relative to ``pictures`` (default: the file's folder). Paths and links must not leave that
    folder unless ``allow_outside``, because a list from others could name any of your files. ``split_column`` is by
    default the column named split, if there is one. ``splits`` gives the values of that column that mean train,
    validation and test. ``classes`` are the labels to use. Images with the same value in ``group_column`` stay in one
    split.
    """

    def __init__(
        self,
        path_column: str = "path",
        label_column: str = "label",
        targets: str | Sequence[str] | None = None,
        split_column: str | None = None,
        group_column: str | None = None,
        splits: Mapping[str, Any] | None = None,
        classes: Sequence[Any] | None = None,
        pictures: str | None = None,
        allow_outside: bool = False,
        **kwargs: Any,
    ) -> None:
        check_dataset({**kwargs, **locals()})
        super().__init__(**kwargs)
        self.allow_outside, self.pictures = allow_outside, pictures
        self.path_column, self.label_column = str(path_column), str(label_column)
        self.split_column = None if split_column is None else str(split_column)
        self.group_column = None if group_column is None else str(group_column)
        self.splits, self.classes = given_splits(splits), given_classes(classes)
        self.target_columns = [str(name) for name in as_list(targets or [])]
        self._check_targets_given()
        self._given_in = "dataset.targets"
        if isinstance(self.targets, SeveralTargets):
            self.target_columns, self._given_in = self.targets.column_names, "task.parts"

    def default_name(self, root: str | None) -> str:
        """Return the name of the file."""
        return real_path(Path(root)).stem if root else "csv"

    reads_labels = True

    def collect(self) -> tuple[list[str], dict[str, Collection]]:
        """Return the class names and the images of each split. Raises DataError.

        Rows without a split belong to train.
        """
        file = existing_table(self.root)
        base = existing_images(self.pictures) or file.parent
        table = read_table(file)
        columns = self._columns(table)
        rows = _rows(table, columns, self._needed())
        rows = self._of_classes(table, self._of_splits(table, columns, rows))
        rows = self._with_files(table, rows, base)
        if "train" not in {row.split for row in rows}:
            raise DataError(f"'{file}' lists no {'training ' if rows else ''}image.")
        by_split: dict[str, list[ListedRow]] = {}
        for row in rows:
            by_split.setdefault(row.split, []).append(row)
        cells = {split: [row.cells for row in of] for split, of in by_split.items()}
        class_names, targets, warnings = self.targets.read(cells, self.target_columns, printable(str(file)))
        self.warnings += warnings
        return class_names, {split: _collection(of, targets[split], base) for split, of in by_split.items()}

    def _columns(self, table: ListTable) -> Columns:
        """Return the index of each column, and note which columns are not used."""
        split = table.find("dataset.split_column", "split") if self.split_column is None else (
            table.column("dataset.split_column", self.split_column)
        )  # fmt: skip
        group = None if self.group_column is None else table.column("dataset.group_column", self.group_column)
        path = table.column("dataset.path_column", self.path_column)
        targets = [table.column(self._given_in, name) for name in self.target_columns] or [self._label_of(table)]
        for place in targets if self.target_columns else ():
            if place in (path, split, group) or targets.count(place) > 1:
                raise DataError(
                    f"{self._given_in}: column '{table.header[place]}' of '{table.file}' is"
                    f" {'named twice' if targets.count(place) > 1 else 'the path, the split or the group'}."
                )
        unused = [place for place in range(len(table.header)) if place not in (path, *targets, split, group)]
        names = [f"`{table.header[place]}`" for place in unused if table.header[place]]
        if names:
            more = f" and {len(names) - SHOWN} more" if len(names) > SHOWN else ""
            self.not_used.append(f"column{'s' * (len(names) > 1)} {', '.join(names[:SHOWN])}{more}")
        if unnamed := len(unused) - len(names):
            self.not_used.append(f"{unnamed} unnamed column{'s' * (unnamed > 1)}")
        for place in unused if split is None else ():
            if setting := like_split(table, place):
                self.warnings.append(f"column `{table.header[place]}` looks like a split; use it with {setting}")
        return Columns(path, targets, split, group)

    def _label_of(self, table: ListTable) -> int:
        """Return the index of the label column; its default is the first of the task's usual names in the header."""
        names = [self.label_column]
        if self.label_column == "label":
            names = [
                name for name in self.targets.label_columns if table.find("dataset.label_column", name) is not None
            ]
        return table.column("dataset.label_column", (names or self.targets.label_columns)[0])

    def _needed(self) -> list[bool]:
        """Return, for each target column, whether all its cells must be filled."""
        if isinstance(self.targets, SeveralTargets):
            return [name in self.targets.needed_columns for name in self.target_columns]
        return [not self.targets.may_be_empty] * max(1, len(self.target_columns))

    def _check_targets_given(self) -> None:
        """Raise ConfigError for columns or classes that the task does not read."""
        if self.target_columns and not self.targets.columns:
            raise ConfigError(
                f"dataset.targets={self.target_columns}: task={self.task} reads one label; use dataset.label_column,"
                " or task=regression for numbers, or task=multilabel for several labels."
            )
        if self.target_columns and self.label_column != "label":
            raise ConfigError("dataset.targets and dataset.label_column both name the targets: leave one of them out.")
        if self.classes is not None and not self.targets.from_folders:
            raise ConfigError(
                f"dataset.classes chooses classes, and task={self.task} has none to choose: leave it out."
            )

    def _of_splits(self, table: ListTable, columns: Columns, rows: list[ListedRow]) -> list[ListedRow]:
        """Return the rows with the standard names of their splits. Raises DataError for an unknown split."""
        if self.splits is not None:
            return self._of_named_splits(table, columns, rows)
        found = []
        for row in rows:
            split = split_name(row.split or "train")
            if split not in (*SPLITS, self.test_split):
                hint = nearest(row.split, ["train", "val", "test"])
                raise DataError(
                    f"Line {row.line} of '{table.file}' has the split '{row.split}'; expected train, val, test, the"
                    f" value of dataset.test_split, or a value in dataset.splits={{train: ..., test: ...}}."
                    f"{hint if hint.startswith(' Did') else ''}"
                )
            found.append(replace(row, split=split))
        return found

    def _of_named_splits(self, table: ListTable, columns: Columns, rows: list[ListedRow]) -> list[ListedRow]:
        """Return the rows whose split is in dataset.splits, and note the other splits."""
        splits = self.splits or {}
        if columns.split is None:
            raise DataError(
                f"dataset.splits names values of a split column, but '{table.file}' has no column named split; name it"
                " with dataset.split_column=NAME."
            )
        counts = Counter(row.split for row in rows)
        for split, value in splits.items():
            if value not in counts:
                raise DataError(
                    f"dataset.splits={{{split}: {value}}}: column '{table.header[columns.split]}' of '{table.file}' has"
                    f" no such value.{nearest(value, [one for one in counts if one])}"
                )
        others = {value: count for value, count in counts.items() if value not in splits.values()}
        self.not_used += [f"split `{value}`: {images_text(count)}" for value, count in others.items()]
        names = {value: split for split, value in splits.items()}
        return [replace(row, split=names[row.split]) for row in rows if row.split in names]

    def _of_classes(self, table: ListTable, rows: list[ListedRow]) -> list[ListedRow]:
        """Return the rows whose label is in dataset.classes, and note the other labels."""
        if self.classes is None:
            return rows
        counts = Counter(row.cells[0] for row in rows)
        for name in self.classes:
            if name not in counts:
                raise DataError(f"dataset.classes: '{table.file}' has no label '{name}'.{nearest(name, counts)}")
        others = {label: count for label, count in counts.items() if label not in self.classes}
        self.not_used += [f"label `{label}`: {images_text(count)}" for label, count in others.items()]
        return [row for row in rows if row.cells[0] in self.classes]

    def _with_files(self, table: ListTable, rows: list[ListedRow], base: Path) -> list[ListedRow]:
        """Return the rows with the names of their files. Raises DataError for a missing, outside or repeated file."""
        listed = ListedFiles(base)
        lines: dict[Path, int] = {}
        found = []
        for row in rows:
            name = listed.file_of(row.path)
            where = f"Line {row.line} of '{table.file}'"
            place = real_path(base / (name or row.path))
            if not self.allow_outside and not place.is_relative_to(listed.inside):
                hint = listed.hint(row.path)
                raise DataError(
                    f"{where} names '{printable(row.path)}', which is outside '{base}': give the folder of the"
                    " images with dataset.pictures, or allow it with dataset.allow_outside=true."
                    f"{hint if hint.startswith(' There is') else ''}"
                )
            if name is None and self.on_error != "skip":
                missing = printable(str(base / row.path))
                raise DataError(f"{where} names '{missing}', but there is no such file.{listed.hint(row.path)}")
            if place in lines:
                raise DataError(f"{where} lists '{row.path}' again, after line {lines[place]}; keep one.")
            lines[place] = row.line
            found.append(replace(row, path=name or row.path))
        if self.splits is None and self.classes is None and (others := count_beside(lines)):
            self.not_used.append(f"{images_text(others)} in the same folders but not in the list")
        return found


def _rows(table: ListTable, columns: Columns, needed_targets: Sequence[bool]) -> list[ListedRow]:
    """Return the rows of a table. Raises DataError for an empty path, group or needed target."""
    rows = []
    single = len(columns.targets) == 1
    needed = [("path", columns.path), ("group", columns.group)]
    needed += [
        ("label" if single else table.header[place], place)
        for place, is_needed in zip(columns.targets, needed_targets, strict=True)
        if is_needed
    ]
    for line, cells in table.rows:
        for what, place in needed:
            if place is not None and not cells[place]:
                raise DataError(f"Line {line} of '{table.file}' has no {what}.")
        split = "" if columns.split is None else cells[columns.split]
        group = None if columns.group is None else cells[columns.group]
        targets = tuple(cells[place] for place in columns.targets)
        rows.append(ListedRow(line, cells[columns.path], targets, split, group))
    return rows


def _collection(rows: Sequence[ListedRow], targets: NDArray[Any], base: Path) -> Collection:
    groups = [row.group for row in rows if row.group is not None]
    return Collection([printable(row.path) for row in rows], targets, [base / row.path for row in rows], groups or None)
