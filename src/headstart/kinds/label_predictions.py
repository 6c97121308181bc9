"""Count the pixels of predicted label images; write the counts as CSV, read them and score them."""

from __future__ import annotations

import csv
import io
import math
from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from functools import cached_property

import numpy as np
from numpy.typing import NDArray

from headstart.errors import DataError
from headstart.kinds.kind import PredictionTable, digest
from headstart.kinds.segmentation import BEYOND
from headstart.report_table import NOTHING, Cell, Column, ReportTable, share_cell
from headstart.solvers.overlaps import class_ious, image_ious, iou_by_image

PARTS = ("both", "predicted", "true")  # prefixes of the columns; each has C columns
AT_ONCE = 1_000_000  # cells in a chunk, which is parsed and then checked
MOST_PIXELS = 2**31


@dataclass(frozen=True)
class LabelImagePredictions:
    """The counts of pixels of N images and C classes, in the order of the file."""

    ids: Sequence[str]
    tallies: NDArray[np.int64]  # (N, 3 C), as in ``overlaps``
    names: Sequence[str]  # of the classes

    @cached_property
    def per_image(self) -> NDArray[np.float64]:
        """Return the mean IoU plus the influence of each image, (N,); their mean is the mean IoU."""
        return iou_by_image(self.tallies)

    @property
    def targets(self) -> NDArray[np.int64]:
        """Return the true pixels of each class, (N, C)."""
        return self.tallies[:, 2 * len(self.names) :]

    @property
    def values(self) -> NDArray[np.int64]:
        """Return the right pixels of each class, then the predicted ones, (N, 2 C)."""
        return self.tallies[:, : 2 * len(self.names)]

    @property
    def images(self) -> str:
        """Return a digest of ids, classes and true pixels: equal for two runs on the same images in the same order."""
        return digest([*self.names, *self.ids], self.targets)

    def text(self) -> str:
        """Return the CSV file: id, then the pixels of each class that are right, predicted and true."""
        text = io.StringIO()
        table = csv.writer(text, lineterminator="\n")
        table.writerow(["id", *(f"{part}:{name}" for part in PARTS for name in self.names)])
        for name, row in zip(self.ids, self.tallies.tolist(), strict=True):
            table.writerow([name, *row])
        return text.getvalue()


@dataclass(frozen=True)
class OverlapScores:
    """Scores on test; fractions of 1."""

    pixel_accuracy: float
    mean_class_accuracy: float
    """Mean over classes of the recall: the fraction of a class's pixels that is predicted right."""
    ious: NDArray[np.float64]
    """IoU of each class, (C,); NaN for a class that is neither predicted nor true."""
    classes: Sequence[str]

    @property
    def numbers(self) -> dict[str, float]:
        """Return the finite scores, by name."""
        found = {"pixel_accuracy": self.pixel_accuracy, "mean_class_accuracy": self.mean_class_accuracy}
        return {name: value for name, value in found.items() if math.isfinite(value)}

    def measures(self) -> Iterator[tuple[str, str]]:
        """Yield the name and the text of each score in a report on one run."""
        yield from ((BEYOND[name].heading, BEYOND[name].text(value)) for name, value in self.numbers.items())


def parse_labels(table: PredictionTable, name: str) -> LabelImagePredictions:
    """Return the predictions in a file, called ``name`` in messages. Raises DataError or ValueError.

    It reads chunks of rows, so an error in an early row ends it.
    """
    import pandas as pd

    columns = len(table.header)
    width = (columns - 1) // 3
    classes = [column.removeprefix("both:") for column in table.header[1 : width + 1]]
    expected = ["id", *(f"{part}:{one}" for part in PARTS for one in classes)]
    if width < 2 or list(table.header) != expected:
        raise DataError(f"{name} does not have the columns id and, for each class, both, predicted and true")
    if len(set(classes)) < width:
        raise DataError(f"{name} names a class twice")
    ids: list[str] = []
    tallies = np.empty((table.lines, columns - 1), dtype=np.int64)
    for part in pd.read_csv(
        table.file,
        header=0,
        names=list(range(columns)),
        dtype={0: str, **dict.fromkeys(range(1, columns), np.int64)},
        keep_default_na=False,
        engine="c",
        chunksize=max(1, AT_ONCE // columns),
    ):
        if part.empty:
            break
        rows = tallies[len(ids) : len(ids) + len(part)] = part.iloc[:, 1:].to_numpy()
        both, predicted, true = np.split(rows, 3, axis=1)
        if not ((both >= 0) & (both <= predicted) & (both <= true) & (np.maximum(predicted, true) < MOST_PIXELS)).all():
            raise DataError(f"{name} holds impossible counts of pixels")
        if (predicted.sum(axis=1) != true.sum(axis=1)).any():
            raise DataError(f"{name} has an image whose numbers of predicted and true pixels differ")
        ids += part[0].tolist()
    if not ids:
        raise DataError(f"{name} holds no image")
    return LabelImagePredictions(ids, tallies[: len(ids)], classes)


def overlap_scores(test: LabelImagePredictions) -> OverlapScores:
    """Return pixel accuracy, mean class accuracy and the IoU of each class on test."""
    both, _, true = np.split(test.tallies.astype(np.float64).sum(axis=0), 3)
    if not true.sum():
        raise DataError("no pixel of the test images has a class")
    recall = both[true > 0] / true[true > 0]
    return OverlapScores(float(both.sum() / true.sum()), float(recall.mean()), class_ious(test.tallies), test.names)


def class_iou_table(test: LabelImagePredictions) -> ReportTable:
    """Return the IoU of each class, the lowest first; classes that are neither predicted nor true last."""
    both, predicted, true = np.split(test.tallies.sum(axis=0), 3)
    ious, pixels = class_ious(test.tallies), max(1, int(true.sum()))
    rows = []
    for label in np.argsort(np.nan_to_num(ious, nan=np.inf), kind="stable").tolist():
        cells = [Cell(test.names[label])]
        cells += [share_cell(float(counts[label] / pixels)) for counts in (true, predicted)]
        cells += [
            share_cell(float(both[label] / whole)) if whole else Cell(NOTHING)
            for whole in (true[label], predicted[label])
        ]
        rows.append([*cells, Cell(NOTHING) if math.isnan(ious[label]) else share_cell(float(ious[label]))])
    columns = [
        Column("class", field="class"),
        Column("pixels (%)", "number", field="pixels"),
        Column("predicted (%)", "number", field="predicted"),
        Column("recall (%)", "number", field="recall"),
        Column("precision (%)", "number", field="precision"),
        Column("IoU (%)", "number", field="iou"),
    ]
    note = "Over all pixels of the test images. IoU: intersection over union of predicted and true pixels."
    return ReportTable("classes", "Classes, the worst first", note, columns, rows)


def worst_images_table(test: LabelImagePredictions) -> ReportTable:
    """Return the images, the lowest mean IoU first."""
    ious = image_ious(test.tallies)
    both, _, true = (counts.sum(axis=1) for counts in np.split(test.tallies, 3, axis=1))
    rows = [
        [
            Cell(test.ids[row]),
            share_cell(float(both[row] / true[row])),
            share_cell(float(ious[row])),
        ]
        for row in np.argsort(np.nan_to_num(ious, nan=np.inf), kind="stable").tolist()
        if true[row]
    ]
    columns = [
        Column("image", field="id"),
        Column("pixel accuracy (%)", "number", field="pixel_accuracy"),
        Column("mean IoU (%)", "number", field="iou"),
    ]
    note = "Mean IoU within the image, over the classes that are true or predicted there."
    return ReportTable("images", "Images, the worst first", note, columns, rows)
