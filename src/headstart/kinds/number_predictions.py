"""Hold predicted numbers as arrays; write them as CSV, read them and score them."""

from __future__ import annotations

import csv
import io
import math
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray

from headstart.errors import DataError
from headstart.kinds.kind import PredictionTable, digest
from headstart.kinds.metric import significant
from headstart.kinds.per_image import r_squared, r_squared_each
from headstart.kinds.regression import BEYOND
from headstart.kinds.rows import numbered_rows
from headstart.report_table import Cell, Column, ReportTable

FIXED = ("number", "id")
PAIR = ("target", "prediction")
LARGEST = 1e39
"""Numbers in 32 bits are smaller."""


@dataclass(frozen=True)
class NumberPredictions:
    """The predictions for N images and K targets, in the order of the file, in the unit of the targets."""

    ids: Sequence[str]
    targets: NDArray[np.float64]  # (N, K)
    values: NDArray[np.float64]  # (N, K)
    names: Sequence[str] = ()  # of the targets; empty for a single unnamed target

    @property
    def errors(self) -> NDArray[np.float64]:
        """Return absolute errors, (N, K)."""
        return np.abs(self.values - self.targets)

    @property
    def per_image(self) -> NDArray[np.float64]:
        """Return scores (N,) whose mean is R², averaged over the targets that vary; NaN if none does."""
        each = r_squared_each(self.targets, self.values)
        varies = ~np.isnan(each[0])
        return each[:, varies].mean(axis=1) if varies.any() else np.full(len(each), np.nan)

    @property
    def images(self) -> str:
        """Return a digest of ids and targets, equal for two runs tested on the same images in the same order."""
        return digest([*self.names, *self.ids], self.targets)

    def text(self) -> str:
        """Return the CSV file: the number of the row from 0, id, and the true and the predicted value of each target.

        The columns of a named target end in its name, as in target_sky. Floats are written exactly.
        """
        text = io.StringIO()
        table = csv.writer(text, lineterminator="\n")
        table.writerow(_header(self.names))
        pairs = np.stack([self.targets, self.values], axis=2).reshape(len(self.ids), -1)
        for number, (name, row) in enumerate(zip(self.ids, pairs.tolist(), strict=True)):
            table.writerow([number, name, *map(repr, row)])
        return text.getvalue()


@dataclass(frozen=True)
class NumberScores:
    """Scores on test."""

    numbers: Mapping[str, float]
    """Finite scores, by name; with several targets, each name ends in the target, as in mae_sky."""

    @classmethod
    def of(cls, test: NumberPredictions) -> NumberScores:
        """Return the scores of each target."""
        several = len(test.names) > 1
        found = {
            f"{name}_{target}" if several else name: float(value)
            for name, values in _scores(test).items()
            for target, value in zip(test.names or [""], values, strict=True)
        }
        return cls({name: value for name, value in found.items() if math.isfinite(value)})

    def measures(self) -> Iterator[tuple[str, str]]:
        """Yield the name and the text of each score in a report on one run; several targets have a table instead."""
        for name, column in BEYOND.items():
            if name in self.numbers:
                yield column.heading, column.text(self.numbers[name])


def _scores(test: NumberPredictions) -> dict[str, NDArray[np.float64]]:
    """Return the scores of each target, (K,), by name."""
    return {
        "r2": r_squared(test.targets, test.values),
        "mae": test.errors.mean(axis=0),
        "rmse": np.sqrt((test.errors**2).mean(axis=0)),
        "median_absolute_error": np.median(test.errors, axis=0),
    }


def _header(names: Sequence[str]) -> list[str]:
    pairs = [f"{column}_{name}" for name in names for column in PAIR]
    return [*FIXED, *(pairs or PAIR)]


def parse_numbers(table: PredictionTable, name: str) -> NumberPredictions:
    """Return the predictions in a file, called ``name`` in messages. Raises DataError or ValueError."""
    header = list(table.header)
    names = [one.removeprefix("target_") for one in header[2::2]] if header != _header(()) else []
    if header != _header(names):
        raise DataError(f"{name} does not have the columns {', '.join(_header(()))}, or two for each named target")
    if len(set(names)) < len(names):
        raise DataError(f"{name} names a target twice")
    columns = len(header)
    ids: list[str] = []
    targets, values = (np.empty((table.lines, (columns - 2) // 2)) for _ in range(2))
    types = {0: np.int64, 1: str, **dict.fromkeys(range(2, columns), np.float64)}
    for rows, part in numbered_rows(table, name, types):
        targets[rows], values[rows] = part.iloc[:, 2::2].to_numpy(), part.iloc[:, 3::2].to_numpy()
        if not ((np.abs(targets[rows]) < LARGEST) & (np.abs(values[rows]) < LARGEST)).all():
            raise DataError(f"{name} holds a target or a prediction that is no number, or too large")
        ids += part[1].tolist()
    if not ids:
        raise DataError(f"{name} holds no image")
    count = len(ids)  # fewer than the lines if an id contains a line end
    return NumberPredictions(ids, targets[:count], values[:count], names)


def targets_table(test: NumberPredictions) -> ReportTable:
    """Return the scores of each target."""
    columns = [
        Column("target", field="target"),
        Column("R²", "number", field="r2"),
        Column("MAE", "number", "Mean absolute error.", "mae"),
        Column("RMSE", "number", "Root of the mean squared error.", "rmse"),
        Column("median abs. error", "number", field="median_absolute_error"),
        Column("mean", "number", "Of the target over test images.", "mean"),
        Column("deviation", "number", "Of the target over test images.", "deviation"),
    ]
    numbers = [*_scores(test).values(), test.targets.mean(axis=0), test.targets.std(axis=0)]
    rows = [
        [Cell(name), *(Cell(significant(float(values[index])), float(values[index])) for values in numbers)]
        for index, name in enumerate(test.names)
    ]
    note = "On test images. MAE, RMSE, median, mean and deviation are in the unit of the target."
    return ReportTable("targets", "Targets", note, columns, rows)


def errors_table(test: NumberPredictions) -> ReportTable:
    """Return the images, the largest error first; several targets are compared in deviations of the target."""
    spread = test.targets.std(axis=0)
    size = (test.errors / np.where(spread > 0, spread, 1)).max(axis=1)
    worst = (test.errors / np.where(spread > 0, spread, 1)).argmax(axis=1)
    several = len(test.names) > 1
    rows = []
    for row in np.argsort(-size, kind="stable").tolist():
        column = int(worst[row])
        target, value = float(test.targets[row, column]), float(test.values[row, column])
        named = [Cell(test.names[column])] if several else []
        rows.append([Cell(test.ids[row]), *named, *(Cell(f"{n:.4g}", n) for n in (target, value, value - target))])
    columns = [
        Column("image", field="id"),
        *(
            [Column("worst target", help="The largest error in deviations of the target.", field="name")]
            if several
            else []
        ),
        Column("target", "number", field="target"),
        Column("prediction", "number", field="prediction"),
        Column("error", "number", "Prediction minus target.", "error"),
    ]
    note = "Error: prediction minus target, in the unit of the target."
    return ReportTable("errors", "Largest errors", note, columns, rows)
