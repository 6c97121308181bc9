"""Hold the predictions of several labels per image as arrays; write them as CSV, read them and score them."""

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
from headstart.kinds.multilabel import LabelSetKind
from headstart.kinds.per_image import average_precision_each, average_precisions
from headstart.kinds.rows import numbered_rows
from headstart.report_table import NOTHING, Cell, Column, ReportTable
from headstart.targets.label_sets import labels_cell, labels_of

FIXED = ("number", "id", "labels")  # the columns before those of the labels
HALF = 0.5  # threshold of a label that validation lacks


@dataclass(frozen=True)
class LabelSetPredictions:
    """The predictions for N images and K labels, in the order of the file."""

    ids: Sequence[str]
    targets: NDArray[np.bool_]  # (N, K)
    values: NDArray[np.float64]  # (N, K) probabilities
    labels: Sequence[str]

    @property
    def per_image(self) -> NDArray[np.float64]:
        """Return scores (N,) whose mean is the mean average precision over the labels that occur; NaN if none does."""
        each = average_precision_each(self.targets, self.values)
        occurs = self.targets.any(axis=0)
        return each[:, occurs].mean(axis=1) if occurs.any() else np.full(len(each), np.nan)

    @property
    def images(self) -> str:
        """Return a digest of ids and targets, equal for two runs tested on the same images in the same order."""
        return digest([*self.labels, *self.ids], self.targets)

    def text(self) -> str:
        """Return the CSV file: the number of the row from 0, id, true labels, then the probability of each label.

        Labels are separated by ``;``, or are a JSON list if a label contains a separator. Floats are written exactly.
        """
        text = io.StringIO()
        table = csv.writer(text, lineterminator="\n")
        table.writerow([*FIXED, *self.labels])
        names = np.array(self.labels, dtype=object)
        for number, (name, has, row) in enumerate(zip(self.ids, self.targets, self.values.tolist(), strict=True)):
            table.writerow([number, name, labels_cell(names[has].tolist()), *map(repr, row)])
        return text.getvalue()


@dataclass(frozen=True)
class LabelSetScores:
    """Scores on test."""

    numbers: Mapping[str, float]
    """Finite scores, by name."""

    @classmethod
    def of(cls, test: LabelSetPredictions, validation: LabelSetPredictions | None) -> LabelSetScores:
        """Return macro F1, the mean over the labels that occur, and micro F1, over all decisions."""
        f1, right, predicted, true = f1_scores(test, thresholds_of(validation, len(test.labels)))
        occurs = test.targets.any(axis=0)
        found = {
            "macro_f1": float(f1[occurs].mean()) if occurs.any() else math.nan,
            "micro_f1": 2 * right.sum() / max(1, predicted.sum() + true.sum()),
        }
        return cls({name: float(value) for name, value in found.items() if math.isfinite(value)})

    def measures(self) -> Iterator[tuple[str, str]]:
        """Yield the name and the text of each score in a report on one run."""
        columns = LabelSetKind.beyond
        yield from ((columns[name].heading, columns[name].text(value)) for name, value in self.numbers.items())


def thresholds_of(validation: LabelSetPredictions | None, labels: int) -> NDArray[np.float64]:
    """Return the threshold of each label, (K,), which has the best F1 on validation; the highest of equally good ones.

    A label is predicted if its probability is not below the threshold. The threshold is 0.5 for a label that
    validation lacks, and without validation.
    """
    found = np.full(labels, HALF)
    for label in np.flatnonzero(validation.targets.any(axis=0)) if validation is not None else ():
        scores = validation.values[:, label]  # type: ignore[union-attr]
        order = np.argsort(-scores, kind="stable")
        scores, right = scores[order], validation.targets[order, label].cumsum()  # type: ignore[union-attr]
        f1 = 2 * right / (np.arange(1, len(scores) + 1) + right[-1])
        f1[:-1][scores[:-1] == scores[1:]] = -1  # no threshold separates equal scores
        found[label] = scores[f1.argmax()]
    return found


def f1_scores(
    test: LabelSetPredictions, thresholds: NDArray[np.float64]
) -> tuple[NDArray[np.float64], NDArray[np.int64], NDArray[np.int64], NDArray[np.int64]]:
    """Return F1, and the numbers of right, predicted and true images, of each label: (K,) each."""
    has = test.values >= thresholds
    right, predicted, true = (which.sum(axis=0) for which in (has & test.targets, has, test.targets))
    return 2 * right / np.maximum(1, predicted + true), right, predicted, true


def parse_label_sets(table: PredictionTable, name: str) -> LabelSetPredictions:
    """Return the predictions in a file, called ``name`` in messages. Raises DataError or ValueError."""
    import pandas as pd

    if tuple(table.header[:3]) != FIXED or len(table.header) < 4:
        raise DataError(f"{name} does not begin with the columns {', '.join(FIXED)} and one for each label")
    classes, columns = list(table.header[3:]), len(table.header)
    numbers = {label: number for number, label in enumerate(classes)}
    if len(numbers) < len(classes):
        raise DataError(f"{name} names a label twice")
    ids: list[str] = []
    targets, values = np.zeros((table.lines, len(classes)), dtype=bool), np.empty((table.lines, len(classes)))
    types = {0: np.int64, 1: str, 2: str, **dict.fromkeys(range(3, columns), np.float64)}
    for rows, part in numbered_rows(table, name, types):
        values[rows] = part.iloc[:, 3:].to_numpy()
        if not ((values[rows] >= 0) & (values[rows] <= 1)).all():
            raise DataError(f"{name} holds probabilities outside 0 to 1")
        codes, cells = pd.factorize(part[2])
        for code, cell in enumerate(cells):
            labels = labels_of(cell)
            if not set(labels) <= numbers.keys():
                raise DataError(f"{name} holds a label that has no column")
            found = np.flatnonzero(codes == code) + rows.start
            targets[np.ix_(found, np.array([numbers[label] for label in labels], dtype=np.int64))] = True
        ids += part[1].tolist()
    if not ids:
        raise DataError(f"{name} holds no image")
    count = len(ids)  # fewer than the lines if an id contains a line end
    return LabelSetPredictions(ids, targets[:count], values[:count], classes)


def labels_table(test: LabelSetPredictions, validation: LabelSetPredictions | None) -> ReportTable:
    """Return prevalence, average precision and F1 of each label."""
    thresholds = thresholds_of(validation, len(test.labels))
    precisions, f1 = average_precisions(test.targets, test.values), f1_scores(test, thresholds)[0]
    rows = []
    for label, name in enumerate(test.labels):
        count, share = int(test.targets[:, label].sum()), float(test.targets[:, label].mean())
        known = [
            Cell(f"{100 * value:.1f}", float(value)) if count else Cell(NOTHING)
            for value in (precisions[label], f1[label])
        ]
        limit = float(thresholds[label])
        rows.append([Cell(name), Cell(str(count), count), Cell(f"{100 * share:.1f}", share), *known,
                     Cell(f"{limit:.3g}", limit)])  # fmt: skip
    columns = [
        Column("label", field="label"),
        Column("images", "number", "Test images with the label.", "images"),
        Column("prevalence (%)", "number", "Share of test images with the label; AP of random scores.", "prevalence"),
        Column("AP (%)", "number", "Average precision.", "average_precision"),
        Column("F1 (%)", "number", field="f1"),
        Column("threshold", "number", "The label is predicted from this probability upwards.", "threshold"),
    ]
    where = "best on validation" if validation is not None else "0.5, as there are no validation predictions"
    note = f"On test images. Thresholds: {where}. {NOTHING}: no test image has the label, so mAP leaves it out."
    return ReportTable("labels", "Labels", note, columns, rows)


def worst_table(test: LabelSetPredictions) -> ReportTable:
    """Return the images with the label whose probability is most wrong, the largest error first."""
    wrong = np.abs(test.targets - test.values)
    label_of, names = wrong.argmax(axis=1), np.array(test.labels, dtype=object)
    rows = []
    for row in np.argsort(-wrong.max(axis=1), kind="stable").tolist():
        label = int(label_of[row])
        value = float(test.values[row, label])
        has = "yes" if test.targets[row, label] else "no"
        rows.append([Cell(test.ids[row]), Cell(labels_cell(names[test.targets[row]].tolist())),
                     Cell(test.labels[label]), Cell(has), Cell(f"{100 * value:.1f}", value)])  # fmt: skip
    columns = [
        Column("image", field="id"),
        Column("labels", field="labels"),
        Column("worst label", help="The label whose probability is most wrong.", field="label"),
        Column("has it", help="Whether the image has the worst label.", field="has"),
        Column("probability (%)", "number", field="probability"),
    ]
    return ReportTable(
        "errors", "Largest errors", "For each image, the label whose probability is most wrong.", columns, rows
    )
