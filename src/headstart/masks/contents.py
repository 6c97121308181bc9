"""Define the content of masks: a class or a number for each pixel."""

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any, Protocol

import numpy as np

from headstart.errors import ConfigError, DataError
from headstart.files import printable
from headstart.inputs.decoding import decode_each
from headstart.inputs.deep import UnreadableError
from headstart.inputs.label_images import LabelReader, largest_value
from headstart.inputs.number_images import NumberReader
from headstart.inputs.pixel_files import PixelReader
from headstart.masks.palette import label_reader, read_names, read_palette

NAMED = 3  # classes named in a warning
Masks = Mapping[str, Path]  # by the name of the image


class MaskContents(Protocol):
    """The reader of masks, and the checks of their content."""

    @property
    def names(self) -> list[str]:
        """Return the names of the classes; empty for numbers."""

    @property
    def reader(self) -> PixelReader:
        """Return the reader of the files."""

    def check(self, files: Sequence[Any], split: str) -> list[str]:
        """Return warnings, from the facts of the files of a split. Raises DataError if training is impossible."""


@dataclass(frozen=True)
class ClassContents:
    """Masks of classes."""

    names: list[str]
    reader: LabelReader

    def check(self, files: Sequence[Any], split: str) -> list[str]:
        """Return a warning if classes are absent. Raises DataError for a split without classes, or train with one."""
        counts = np.array([file.counts for file in files], dtype=np.int64).reshape(len(files), -1).sum(axis=0)
        present = np.flatnonzero(counts)
        if not len(present):
            raise DataError(f"All pixels of the {split} masks are ignored; expected pixels with a class.")
        if split == "train" and len(present) < 2:
            raise DataError(
                f"The training masks have only the class '{self.names[present[0]]}'; segmentation needs at least two."
            )
        absent = [f"'{self.names[label]}'" for label in np.flatnonzero(counts == 0)]
        if not absent:
            return []
        shown = ", ".join(absent[:NAMED]) + ", ..." * (len(absent) > NAMED)
        return [f"{split} has no pixel of {len(absent)} of {len(counts)} classes ({shown})"]


@dataclass(frozen=True)
class NumberContents:
    """Masks of numbers."""

    names: list[str]
    reader: NumberReader

    def check(self, files: Sequence[Any], split: str) -> list[str]:
        """Return no warning. Raises DataError for a split without numbers, or with equal numbers only."""
        if not any(file.count for file in files):
            raise DataError(f"No pixel of the {split} masks has a number.")
        low, high = min(file.low for file in files), max(file.high for file in files)
        if low == high:
            raise DataError(f"All pixels of the {split} masks have the number {low:g}; expected numbers that differ.")
        return []


def contents_of_classes(
    classes: str | list[str] | None, palette: str | None, ignore_index: int | None, masks: Masks
) -> ClassContents:
    """Return the names of the classes and the reader of masks of classes. Raises DataError or ConfigError."""
    colours = None
    if palette is not None:
        names, colours = read_palette(palette)
        if classes is not None:
            raise ConfigError("dataset.classes and dataset.palette both name the classes: leave one of them out.")
    elif classes is not None:
        names = read_names(classes) if isinstance(classes, str) else classes
    else:
        names = [str(index) for index in range(_largest(masks, ignore_index) + 1)]
    return ClassContents(*label_reader(names, ignore_index, colours))


def contents_of_numbers(
    classes: str | list[str] | None, palette: str | None, ignore_index: int | None, masks: Masks
) -> NumberContents:
    """Return the reader of masks of numbers. Raises ConfigError for settings that only classes have."""
    for key, value in (("classes", classes), ("palette", palette)):
        if value is not None:
            raise ConfigError(f"dataset.{key} names classes, and these masks hold numbers: leave it out.")
    return NumberContents([], NumberReader(ignore_index))


def unusable(mask: Path, name: str, reason: str) -> DataError:
    """Return the error for the mask of the image ``name`` that cannot be used."""
    return DataError(f"The mask '{printable(str(mask))}' of '{name}' cannot be used: {reason}.")


def _largest(masks: Masks, ignore_index: int | None) -> int:
    """Return the largest class index in all masks. Raises DataError if there is none, or a mask cannot be read."""
    ids = list(masks)

    def one(index: int) -> int:
        try:
            return largest_value(masks[ids[index]], ignore_index)
        except UnreadableError as error:
            raise unusable(masks[ids[index]], ids[index], str(error)) from error

    largest = max(decode_each(one, len(ids), "numbering the classes of masks"), default=-1)
    if largest < 0:
        raise DataError(f"All pixels of all masks are ignored (dataset.ignore_index={ignore_index}).")
    return largest
