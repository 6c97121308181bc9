"""Make the tables of one run's predictions: classes, confusions, mistakes."""

from __future__ import annotations

import math

import numpy as np

from headstart.kinds.class_predictions import ClassPredictions
from headstart.kinds.class_scores import confusion_counts
from headstart.kinds.classification import ACCURACY
from headstart.report_table import NOTHING, Cell, Column, ReportTable, count_cell, share_cell
from headstart.statistics import score_interval


def share_interval(right: float, count: int) -> tuple[float, float]:
    """Return Wilson's 95 % interval of ``right / count``, as for the accuracy of one run; NaN if count is 0."""
    if not count:
        return math.nan, math.nan
    found = score_interval(right / count, 0.0, 1, count)
    return found.low, found.high


def classes_table(found: ClassPredictions) -> ReportTable:
    """Return the recall of each class, the lowest first; classes without test images last."""
    counts = confusion_counts(found.targets, found.predicted, len(found.classes))
    rows: list[tuple[float, list[Cell]]] = []
    for index, name in enumerate(found.classes):
        images, right = int(counts[index].sum()), int(counts[index, index])
        low, high = share_interval(right, images)
        wrong = np.where(np.arange(len(counts)) == index, 0, counts[index])
        confused = f"{found.classes[int(wrong.argmax())]} ({wrong.max()})" if wrong.any() else NOTHING
        recall = right / images if images else math.nan
        cells = [Cell(name), count_cell(images), count_cell(int(counts[:, index].sum()))]
        cells += [share_cell(recall), Cell(ACCURACY.interval(low, high), low)]
        rows.append((recall if images else math.inf, [*cells, Cell("", high), Cell(confused)]))
    rows.sort(key=lambda row: row[0])
    return ReportTable(
        "classes",
        "Classes, the worst first",
        "Recall on test, with Wilson's 95 % interval over images.",
        [
            Column("class", field="class"),
            Column("images", "number", field="images"),
            Column("predicted", "number", field="predicted"),
            Column("recall (%)", "number", field="recall"),
            Column("95 % interval", "number", field="low"),
            Column("high", field="high", shown=False),
            Column("most often confused with"),
        ],
        [cells for _, cells in rows],
    )


def confusions_table(found: ClassPredictions) -> ReportTable:
    """Return the pairs of true and predicted class that differ, the most frequent first."""
    counts = confusion_counts(found.targets, found.predicted, len(found.classes))
    images = counts.sum(axis=1)
    np.fill_diagonal(counts, 0)
    pairs = np.argwhere(counts > 0)
    pairs = pairs[np.argsort(-counts[tuple(pairs.T)], kind="stable")]
    rows = [
        [
            Cell(found.classes[true]),
            Cell(found.classes[predicted]),
            count_cell(int(counts[true, predicted])),
            share_cell(float(counts[true, predicted] / images[true])),
        ]
        for true, predicted in pairs
    ]
    columns = [
        Column("true class", field="target"),
        Column("predicted as", field="prediction"),
        Column("images", "number", field="images"),
        Column("share of the true class (%)", "number"),
    ]
    return ReportTable("confusions", "Biggest confusions", "", columns, rows)


def mistakes_table(found: ClassPredictions) -> ReportTable:
    """Return wrong predictions, the most confident first."""
    images = np.arange(len(found.predicted))
    confidence, true = (found.probabilities[images, index] for index in (found.predicted, found.targets))
    wrong = np.flatnonzero(~found.correct)
    wrong = wrong[np.argsort(-confidence[wrong], kind="stable")]
    rows = [
        [
            Cell(found.ids[row]),
            Cell(found.classes[found.targets[row]]),
            Cell(found.classes[found.predicted[row]]),
            share_cell(float(confidence[row])),
            share_cell(float(true[row])),
        ]
        for row in wrong.tolist()
    ]
    columns = [
        Column("image", field="id"),
        Column("true class", field="target"),
        Column("predicted as", field="prediction"),
        Column("confidence (%)", "number", field="probability_of_prediction"),
        Column("true class (%)", "number", "Probability of the true class.", "probability_of_target"),
    ]
    note = "Confidence: probability of the predicted class. headstart explain RUN draws these images."
    return ReportTable("mistakes", "Most confident mistakes", note, columns, rows)
