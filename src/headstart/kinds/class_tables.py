"""The tables of one run's predictions: classes, confusions, mistakes."""

from __future__ import annotations

import math
from typing import Any

import numpy as np
from numpy.typing import NDArray

from headstart.kinds.class_predictions import ClassPredictions
from headstart.kinds.class_scores import confusion_counts
from headstart.kinds.classification import ACCURACY
from headstart.kinds.kind import RunSection, ScoredCell
from headstart.kinds.metric import NOTHING
from headstart.statistics import score_interval


def share_interval(right: float, count: int) -> tuple[float, float]:
    """Return the 95 % interval of a share, right out of count, as of the accuracy of one run; NaN without any."""
    if not count:
        return math.nan, math.nan
    found = score_interval(right / count, 0.0, 1, count)
    return found.low, found.high


def _share(right: int, count: int) -> ScoredCell:
    return (ACCURACY.number(right / count), right / count) if count else (NOTHING, None)


def _number(count: int) -> ScoredCell:
    return str(count), float(count)


def class_section(found: ClassPredictions) -> RunSection:
    """Recall by class, the worst first; classes without test images last."""
    counts = _counts(found)
    rows: list[tuple[float, list[ScoredCell], dict[str, Any]]] = []
    for index, name in enumerate(found.classes):
        images, right = int(counts[index].sum()), int(counts[index, index])
        low, high = share_interval(right, images)
        others = counts[index].copy()
        others[index] = 0
        wrong = int(others.max())
        taken = f"{found.classes[int(others.argmax())]} ({wrong})" if wrong else NOTHING
        predicted = int(counts[:, index].sum())
        cells: list[ScoredCell] = [
            (name, name), _number(images), _number(predicted), _share(right, images),
            (ACCURACY.interval(low, high), low if images else None), (taken, taken),
        ]  # fmt: skip
        recall = right / images if images else math.nan
        record = {"class": name, "images": images, "predicted": predicted, "recall": recall, "low": low, "high": high}
        rows.append((2.0 if math.isnan(recall) else recall, cells, record))
    rows.sort(key=lambda row: row[0])
    return RunSection(
        "classes", "Classes, the worst first", "Recall on test, with Wilson's 95 % interval over images.",
        ("class", "images", "predicted", "recall (%)", "95 % interval", "most often taken for"),
        [cells for _, cells, _ in rows], (False, True, True, True, True, False), [record for *_, record in rows],
    )  # fmt: skip


def confusion_sections(found: ClassPredictions) -> list[RunSection]:
    """Pairs of classes by how many images of the one were predicted as the other."""
    counts = _counts(found)
    images = counts.sum(axis=1)
    np.fill_diagonal(counts, 0)
    pairs = np.argwhere(counts > 0)
    if not len(pairs):
        return []
    pairs = pairs[np.argsort(-counts[tuple(pairs.T)], kind="stable")]
    rows: list[list[ScoredCell]] = [
        [
            (found.classes[true], found.classes[true]),
            (found.classes[said], found.classes[said]),
            _number(int(counts[true, said])),
            _share(int(counts[true, said]), int(images[true])),
        ]
        for true, said in pairs
    ]
    records = [
        {"target": found.classes[true], "prediction": found.classes[said], "images": int(counts[true, said])}
        for true, said in pairs
    ]
    header = ("true class", "predicted as", "images", "of the class (%)")
    right = (False, False, True, True)
    return [RunSection("confusions", "Biggest confusions", "", header, rows, right, records, shown=15)]


def mistake_sections(found: ClassPredictions) -> list[RunSection]:
    """Wrong predictions, the most confident first."""
    said = found.probabilities[np.arange(len(found.said)), found.said]
    true = found.probabilities[np.arange(len(found.said)), found.targets]
    wrong = np.flatnonzero(~found.correct)
    wrong = wrong[np.argsort(-said[wrong], kind="stable")]
    rows: list[list[ScoredCell]] = [
        [
            (found.ids[row], found.ids[row]),
            (found.classes[found.targets[row]], None),
            (found.classes[found.said[row]], None),
            (ACCURACY.number(float(said[row])), float(said[row])),
            (ACCURACY.number(float(true[row])), float(true[row])),
        ]
        for row in wrong.tolist()
    ]
    records = [
        {
            "id": found.ids[row], "target": found.classes[found.targets[row]],
            "prediction": found.classes[found.said[row]],
            "probability_of_prediction": float(said[row]), "probability_of_target": float(true[row]),
        }
        for row in wrong.tolist()
    ]  # fmt: skip
    header = ("image", "true class", "predicted as", "confidence (%)", "true class (%)")
    note = "Probabilities of the predicted and of the true class. headstart explain RUN draws these images."
    right = (False, False, False, True, True)
    return (
        [RunSection("mistakes", "Most confident mistakes", note, header, rows, right, records, shown=20)]
        if rows
        else []
    )


def _counts(found: ClassPredictions) -> NDArray[Any]:
    return confusion_counts(found.targets, found.said, len(found.classes))
