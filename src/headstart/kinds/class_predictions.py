"""Hold the predictions of a classifier as arrays; write them as CSV and read them."""

from __future__ import annotations

import csv
from collections.abc import Sequence
from dataclasses import dataclass
from types import SimpleNamespace

import numpy as np
from numpy.typing import NDArray

from headstart.errors import DataError
from headstart.kinds.kind import PredictionTable, digest

AT_ONCE = 1_000_000  # cells in a chunk, which is parsed and then checked
MOST = 1.001  # largest probability accepted, as other tools write rounded ones
FIXED = ("id", "target", "prediction")  # the columns before those of the classes


@dataclass(frozen=True)
class ClassPredictions:
    """The predictions for N images and C classes, in the order of the file."""

    ids: Sequence[str]
    targets: NDArray[np.int64]  # (N,) index into the classes
    predicted: NDArray[np.int64]  # (N,)
    probabilities: NDArray[np.float64]  # (N, C)
    classes: Sequence[str]

    @property
    def correct(self) -> NDArray[np.bool_]:
        """Return (N,) whether the predicted class is the target."""
        return self.predicted == self.targets

    @property
    def per_image(self) -> NDArray[np.bool_]:
        """Return ``correct``; its mean is the accuracy."""
        return self.correct

    @property
    def images(self) -> str:
        """Return a digest of ids and targets: equal for two runs on the same test images in the same order."""
        return digest([*self.classes, *self.ids], self.targets)

    def text(self) -> str:
        """Return the CSV file with the columns id, target, prediction, and the probability of each class.

        Probabilities have 12 digits. The prediction is the class of the largest logit, so two probabilities may read
        as equal.
        """
        lines: list[str] = []  # of the columns that may need quotes, which takes longer than to format numbers
        table = csv.writer(SimpleNamespace(write=lines.append), lineterminator="\n")
        table.writerow([*FIXED, *self.classes])
        named = ([self.classes[index] for index in which.tolist()] for which in (self.targets, self.predicted))
        table.writerows(zip(self.ids, *named, strict=True))
        numbers = ",".join(["%.12g"] * len(self.classes))
        rows = zip(lines[1:], self.probabilities.tolist(), strict=True)
        return lines[0] + "".join(f"{line[:-1]},{numbers % tuple(row)}\n" for line, row in rows)


def parse_classes(table: PredictionTable, name: str) -> ClassPredictions:
    """Return the predictions in a file, called ``name`` in messages. Raises DataError or ValueError.

    It reads chunks of rows, so an error in an early row ends it, and memory holds the numbers once.
    """
    import pandas as pd

    if tuple(table.header[:3]) != FIXED or len(table.header) < 5:
        raise DataError(f"{name} does not begin with the columns {', '.join(FIXED)} and one for each class")
    classes = list(table.header[3:])
    names = pd.Index(classes)
    if not names.is_unique:
        raise DataError(f"{name} names a class twice")
    columns = len(table.header)
    ids: list[str] = []
    targets, predicted = (np.empty(table.lines, dtype=np.int64) for _ in range(2))
    probabilities = np.empty((table.lines, len(classes)))
    for part in pd.read_csv(
        table.file,
        header=0,
        names=list(range(columns)),
        dtype={0: str, 1: str, 2: str, **dict.fromkeys(range(3, columns), np.float64)},
        keep_default_na=False,
        engine="c",
        chunksize=max(1, AT_ONCE // columns),
    ):
        if part.empty:
            break
        rows = slice(len(ids), len(ids) + len(part))
        targets[rows], predicted[rows] = (names.get_indexer(pd.Index(part[column])) for column in (1, 2))
        probabilities[rows] = part.iloc[:, 3:].to_numpy()
        if min(targets[rows].min(), predicted[rows].min()) < 0:
            raise DataError(f"{name} holds a class that has no column")
        if not ((probabilities[rows] >= 0) & (probabilities[rows] <= MOST)).all():
            raise DataError(f"{name} holds probabilities outside 0 to 1")
        ids += part[0].tolist()
    if not ids:
        raise DataError(f"{name} holds no image")
    count = len(ids)  # fewer than the lines if an id contains a line end
    return ClassPredictions(ids, targets[:count], predicted[:count], probabilities[:count], classes)
