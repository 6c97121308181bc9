"""Sum the predicted numbers over the pixels of each image; write the sums as CSV, read them and score them."""

from __future__ import annotations

import csv
import io
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass
from functools import cached_property

import numpy as np
from numpy.typing import NDArray

from headstart.errors import DataError
from headstart.kinds.dense_regression import BEYOND
from headstart.kinds.kind import PredictionTable, digest
from headstart.kinds.metric import significant
from headstart.kinds.rows import numbered_rows
from headstart.report_table import Cell, Column, ReportTable
from headstart.solvers.pixel_errors import SUMS, r_squared_by_image

HEADER = ("number", "id", *SUMS)
LARGEST = 1e80  # of a sum of squares


@dataclass(frozen=True)
class PixelPredictions:
    """The sums over the pixels of N images, in the order of the file."""

    ids: Sequence[str]
    tallies: NDArray[np.float64]  # (N, 5), as in ``pixel_errors``

    @cached_property
    def per_image(self) -> NDArray[np.float64]:
        """Return R² plus the influence of each image, (N,); their mean is R²."""
        return r_squared_by_image(self.tallies)

    @property
    def targets(self) -> NDArray[np.float64]:
        """Return the number of pixels, and the sum and the sum of squares of the targets, (N, 3)."""
        return self.tallies[:, :3]

    @property
    def values(self) -> NDArray[np.float64]:
        """Return the sums of squared and of absolute errors, (N, 2)."""
        return self.tallies[:, 3:]

    @property
    def images(self) -> str:
        """Return a digest of ids and targets, equal for two runs tested on the same images in the same order."""
        return digest(list(self.ids), self.targets)

    def text(self) -> str:
        """Return the CSV file: the number of the row from 0, id, and the sums. Floats are written exactly."""
        text = io.StringIO()
        table = csv.writer(text, lineterminator="\n")
        table.writerow(HEADER)
        for number, (name, row) in enumerate(zip(self.ids, self.tallies.tolist(), strict=True)):
            table.writerow([number, name, int(row[0]), *map(repr, row[1:])])
        return text.getvalue()


@dataclass(frozen=True)
class PixelErrors:
    """Scores on test, in the unit of the targets."""

    numbers: Mapping[str, float]

    @classmethod
    def of(cls, test: PixelPredictions) -> PixelErrors:
        """Return MAE and RMSE over all pixels."""
        pixels, _, _, squared, absolute = test.tallies.sum(axis=0).tolist()
        return cls({"mae": absolute / pixels, "rmse": (squared / pixels) ** 0.5})

    def measures(self) -> Iterator[tuple[str, str]]:
        """Yield the name and the text of each score in a report on one run."""
        yield from ((BEYOND[name].heading, BEYOND[name].text(value)) for name, value in self.numbers.items())


def parse_pixels(table: PredictionTable, name: str) -> PixelPredictions:
    """Return the predictions in a file, called ``name`` in messages. Raises DataError or ValueError."""
    if tuple(table.header) != HEADER:
        raise DataError(f"{name} does not have the columns {', '.join(HEADER)}")
    ids: list[str] = []
    tallies = np.empty((table.lines, len(SUMS)))
    types = {0: np.int64, 1: str, 2: np.int64, **dict.fromkeys(range(3, len(HEADER)), np.float64)}
    for rows, part in numbered_rows(table, name, types):
        tallies[rows] = part.iloc[:, 2:].to_numpy()
        pixels, _, squares, squared, absolute = tallies[rows].T
        if not (
            (np.abs(tallies[rows]) < LARGEST).all() and (np.stack([pixels, squares, squared, absolute]) >= 0).all()
        ):
            raise DataError(f"{name} holds impossible sums")
        ids += part[1].tolist()
    if not ids or not tallies[: len(ids), 0].sum():
        raise DataError(f"{name} holds no pixel with a number")
    return PixelPredictions(ids, tallies[: len(ids)])


def pixel_errors_table(test: PixelPredictions) -> ReportTable:
    """Return the images, the largest RMSE first."""
    pixels, totals, _, squared, absolute = test.tallies.T
    count = np.maximum(pixels, 1)
    numbers = np.stack([totals / count, absolute / count, np.sqrt(squared / count)], axis=1)
    rows = [
        [Cell(test.ids[row]), *(Cell(significant(value), value) for value in numbers[row].tolist())]
        for row in np.argsort(-numbers[:, 2], kind="stable").tolist()
        if pixels[row]
    ]
    columns = [
        Column("image", field="id"),
        Column("mean", "number", "Mean of the targets.", "mean"),
        Column("MAE", "number", "Mean absolute error.", "mae"),
        Column("RMSE", "number", "Root of the mean squared error.", "rmse"),
    ]
    return ReportTable("errors", "Images, the worst first", "In the unit of the targets.", columns, rows)
