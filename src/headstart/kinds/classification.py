"""One class an image; the primary metric is the accuracy."""

from __future__ import annotations

import csv
import io
import math
from collections.abc import Collection, Mapping, Sequence
from dataclasses import dataclass
from typing import Any

import numpy as np
from numpy.typing import NDArray

from headstart.errors import DataError
from headstart.kinds.class_scores import Scores, confusion_counts, test_scores
from headstart.kinds.kind import Predictions, PredictionTable, RunSection, ScoreColumn, ScoredCell, digest
from headstart.kinds.metric import NOTHING, Metric
from headstart.statistics import score_interval

AT_ONCE = 1_000_000  # cells that are parsed before they are checked
MOST = 1.001  # of a probability, as it is rounded
FIXED = ("id", "target", "prediction")  # the columns before those of the classes
ACCURACY = Metric("accuracy", True, "%", (0, 1))


@dataclass(frozen=True)
class ClassPredictions:
    """N images and C classes, in the order of the file."""

    ids: Sequence[str]
    targets: NDArray[np.int64]  # (N,) index into the classes
    said: NDArray[np.int64]  # (N,)
    probabilities: NDArray[np.float64]  # (N, C)
    classes: Sequence[str]

    @property
    def correct(self) -> NDArray[np.bool_]:
        """(N,) whether the predicted class is the target."""
        return self.said == self.targets

    @property
    def per_image(self) -> NDArray[np.bool_]:
        """The same: the mean is the accuracy."""
        return self.correct

    @property
    def images(self) -> str:
        """A digest of ids and targets: equal for two runs that were tested on the same images in the same order."""
        return digest([*self.classes, *self.ids], self.targets)

    def text(self) -> str:
        """Return the CSV file: id, target, prediction, and from the fourth column on the probability of each class.

        Probabilities have 12 digits; the prediction is that of the logits, which may differ by less.
        """
        text = io.StringIO()
        table = csv.writer(text, lineterminator="\n")
        table.writerow([*FIXED, *self.classes])
        for name, target, said, row in zip(self.ids, self.targets, self.said, self.probabilities, strict=True):
            table.writerow(
                [name, self.classes[int(target)], self.classes[int(said)], *(f"{value:.12g}" for value in row)]
            )
        return text.getvalue()


class ClassKind:
    """One class an image."""

    name = "classification"
    primary = ACCURACY
    right_or_wrong = True
    loss_unit = "nats"
    shares: Collection[str] = frozenset({"accuracy", "balanced_accuracy"})
    beyond: Mapping[str, ScoreColumn] = {
        "balanced_accuracy": ScoreColumn("balanced acc. (%)", True),
        "macro_f1": ScoreColumn("macro F1 (%)", True),
        "nll": ScoreColumn("NLL (nats)"),
        "scaled_nll": ScoreColumn("scaled NLL"),
        "brier": ScoreColumn("Brier"),
        "scaled_brier": ScoreColumn("scaled Brier"),
        "ece": ScoreColumn("ECE (%)", True),
        "scaled_ece": ScoreColumn("scaled ECE (%)", True),
    }
    beyond_note = (
        "NLL: negative log-likelihood; ECE: expected calibration error in 15 bins; scaled: after"
        " temperature scaling on validation."
    )

    def parse(self, table: PredictionTable, name: str) -> ClassPredictions:
        """Read some rows at a time, so that what is wrong in the first ones ends it, and memory holds numbers once."""
        import pandas as pd

        if tuple(table.header[:3]) != FIXED or len(table.header) < 5:
            raise DataError(f"{name} does not begin with the columns {', '.join(FIXED)} and one a class")
        classes = list(table.header[3:])
        names = pd.Index(classes)
        if not names.is_unique:
            raise DataError(f"{name} names a class twice")
        columns = len(table.header)
        ids: list[str] = []
        targets, said = (np.empty(table.lines, dtype=np.int64) for _ in range(2))
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
            targets[rows], said[rows] = (names.get_indexer(pd.Index(part[column])) for column in (1, 2))
            probabilities[rows] = part.iloc[:, 3:].to_numpy()
            if min(targets[rows].min(), said[rows].min()) < 0:
                raise DataError(f"{name} holds a class that has no column")
            if not ((probabilities[rows] >= 0) & (probabilities[rows] <= MOST)).all():
                raise DataError(f"{name} holds probabilities that are none")
            ids += part[0].tolist()
        if not ids:
            raise DataError(f"{name} holds no image")
        count = len(ids)  # fewer than lines where an id has a line end
        return ClassPredictions(ids, targets[:count], said[:count], probabilities[:count], classes)

    def further(self, test: Predictions, validation: Predictions | None) -> Scores:
        """Return balanced accuracy, F1, calibration before and after temperature scaling, on test."""
        assert isinstance(test, ClassPredictions)
        assert validation is None or isinstance(validation, ClassPredictions)
        return test_scores(test, validation)

    def details(self, test: Predictions) -> Sequence[RunSection]:
        """Return the classes, the confusions and the mistakes."""
        assert isinstance(test, ClassPredictions)
        return (_classes(test), *_confusions(test), *_mistakes(test))


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


def _classes(found: ClassPredictions) -> RunSection:
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


def _confusions(found: ClassPredictions) -> list[RunSection]:
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


def _mistakes(found: ClassPredictions) -> list[RunSection]:
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
