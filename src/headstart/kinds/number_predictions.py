"""What a network predicted where targets are numbers: as arrays, as CSV, scored."""

from __future__ import annotations

import csv
import io
import math
from collections.abc import Iterator, Sequence
from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray

from headstart.errors import DataError
from headstart.kinds.kind import PredictionTable, digest
from headstart.kinds.regression import BEYOND
from headstart.report_table import Cell, Column, ReportTable

COLUMNS = ("number", "id", "target", "prediction")
AT_ONCE = 250_000  # rows that are parsed before they are checked
LARGEST = 1e39
"""No target and no prediction in 32 bits reaches it."""


@dataclass(frozen=True)
class NumberPredictions:
    """N images, in the order of the file; targets and predictions are in the unit of the target."""

    ids: Sequence[str]
    targets: NDArray[np.float64]  # (N,)
    values: NDArray[np.float64]  # (N,)

    @property
    def per_image(self) -> NDArray[np.float64]:
        """Return the absolute errors, (N,); their mean is the mean absolute error."""
        return np.abs(self.values - self.targets)

    @property
    def images(self) -> str:
        """Return a digest of ids and targets, equal for two runs tested on the same images in the same order."""
        return digest(self.ids, self.targets)

    def text(self) -> str:
        """Return the CSV file: the number of the row from 0, id, target, prediction; floats come back bit for bit."""
        text = io.StringIO()
        table = csv.writer(text, lineterminator="\n")
        table.writerow(COLUMNS)
        for number, row in enumerate(zip(self.ids, self.targets.tolist(), self.values.tolist(), strict=True)):
            table.writerow([number, row[0], repr(row[1]), repr(row[2])])
        return text.getvalue()


@dataclass(frozen=True)
class NumberScores:
    """Scores on test."""

    rmse: float
    """Root of the mean squared error, in the unit of the target."""
    r2: float
    """Explained share of the variance of the targets, 1 - SS_residual / SS_total; NaN where they do not vary."""
    median_absolute_error: float

    @property
    def numbers(self) -> dict[str, float]:
        """Return the scores that exist, by name."""
        return {name: value for name, value in vars(self).items() if math.isfinite(value)}

    def measures(self) -> Iterator[tuple[str, str]]:
        """Yield names and texts of what a report on one run shows."""
        yield from ((BEYOND[name].heading, BEYOND[name].text(value)) for name, value in self.numbers.items())


def parse_numbers(table: PredictionTable, name: str) -> NumberPredictions:
    """Read some rows at a time, so that what is wrong in the first ones ends it."""
    import pandas as pd

    if tuple(table.header) != COLUMNS:
        raise DataError(f"{name} does not have the columns {', '.join(COLUMNS)}")
    ids: list[str] = []
    targets, values = (np.empty(table.lines) for _ in range(2))
    for part in pd.read_csv(
        table.file,
        header=0,
        names=list(range(len(COLUMNS))),
        dtype={0: np.int64, 1: str, 2: np.float64, 3: np.float64},
        keep_default_na=False,
        engine="c",
        float_precision="round_trip",
        chunksize=AT_ONCE,
    ):
        if part.empty:
            break
        rows = slice(len(ids), len(ids) + len(part))
        targets[rows], values[rows] = part[2], part[3]
        if (part[0].to_numpy() != np.arange(rows.start, rows.stop)).any():
            raise DataError(f"{name} does not number its rows from 0: some are missing, or in another order")
        if not ((np.abs(targets[rows]) < LARGEST) & (np.abs(values[rows]) < LARGEST)).all():
            raise DataError(f"{name} holds a target or a prediction that is no number, or too large")
        ids += part[1].tolist()
    if not ids:
        raise DataError(f"{name} holds no image")
    count = len(ids)  # fewer than lines where an id has a line end
    return NumberPredictions(ids, targets[:count], values[:count])


def number_scores(test: NumberPredictions) -> NumberScores:
    """Return RMSE, R² and the median absolute error on test."""
    residuals = test.values - test.targets
    total = float(((test.targets - test.targets.mean()) ** 2).sum())
    return NumberScores(
        rmse=float(np.sqrt(np.mean(residuals**2))),
        r2=1 - float((residuals**2).sum()) / total if total else math.nan,
        median_absolute_error=float(np.median(np.abs(residuals))),
    )


def errors_table(test: NumberPredictions) -> ReportTable:
    """Return the images, those with the largest errors first."""
    rows = []
    for row in np.argsort(-test.per_image, kind="stable").tolist():
        target, value = float(test.targets[row]), float(test.values[row])
        rows.append([Cell(test.ids[row]), *(Cell(f"{n:.4g}", n) for n in (target, value, value - target))])
    columns = [
        Column("image", field="id"),
        Column("target", "number", field="target"),
        Column("prediction", "number", field="prediction"),
        Column("error", "number", "Prediction less target.", "error"),
    ]
    note = "Error: prediction less target, in the unit of the target."
    return ReportTable("errors", "Largest errors", note, columns, rows)
