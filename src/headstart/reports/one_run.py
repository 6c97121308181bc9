"""What one run alone shows: accuracy over images, classes, confusions, mistakes, calibration, cost, learning curve.

Everything is built once here, as tables of texts; the terminal, the pages and the CSV files show the same tables.
"""

from __future__ import annotations

import math
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass
from typing import Any

import numpy as np
from numpy.typing import NDArray

from headstart.comparison.evidence import Evidence
from headstart.comparison.formats import NOTHING, amount, interval, percent
from headstart.comparison.predictions import Predictions, read_predictions
from headstart.comparison.scores import Scores, confusion_counts
from headstart.errors import DataError
from headstart.records.names import TEST_PREDICTIONS
from headstart.records.runs import TRIED, Run
from headstart.statistics import score_interval

MEMORY = (("TiB", 2**40), ("GiB", 2**30), ("MiB", 2**20), ("KiB", 2**10))
Cell = tuple[str, float | str | None]
"""What a reader sees, and what it is sorted by."""


@dataclass(frozen=True)
class RunSection:
    """A table; ``short`` rows of it are for the terminal, ``shown`` for Markdown, all for the CSV file."""

    name: str
    title: str
    note: str
    header: tuple[str, ...]
    rows: Sequence[Sequence[Cell]]
    right: tuple[bool, ...]
    """Which columns are numbers."""
    records: Sequence[Mapping[str, Any]] = ()
    """The rows of a CSV file; shares are fractions of 1."""
    short: int = 5
    shown: int = 100

    @property
    def texts(self) -> list[list[str]]:
        """The rows as a reader sees them."""
        return [[text for text, _ in row] for row in self.rows]


@dataclass(frozen=True)
class OneRun:
    """A run with its tables."""

    run: Run
    overview: RunSection
    details: tuple[RunSection, ...]
    """Classes, confusions and mistakes; none without predictions."""

    @property
    def title(self) -> str:
        """What the run is, for people: "scratch of resnet18 on digits, crop_resize, seed 0"."""
        run = self.run
        parts = [f"{run.strategy} of {run.backbone} on {run.dataset}", "+".join(run.augmentation)]
        return ", ".join(filter(None, [*parts, "" if run.seed is None else f"seed {run.seed}"]))

    @classmethod
    def of(cls, run: Run, evidence: Evidence | None) -> OneRun:
        """Read the predictions of the run once more, from which ``evidence`` keeps the scores alone."""
        found = None if evidence is None else read_predictions(run.directory / TEST_PREDICTIONS)
        measures = _measures(run, found, None if evidence is None else evidence.scores)
        rows: list[list[Cell]] = [[(name, name), (text, text)] for name, text in measures]
        overview = RunSection("overview", "Overview", "", ("measure", "value"), rows, (False, False), short=100)
        details = () if found is None else (_classes(found), *_confusions(found), *_mistakes(found))
        return cls(run, overview, details)


def share_interval(right: float, count: int) -> tuple[float, float]:
    """Return the 95 % interval of a share, right out of count, as of the accuracy of one run; NaN without any."""
    if not count:
        return math.nan, math.nan
    found = score_interval(right / count, 0.0, 1, count)
    return found.low, found.high


def _measures(run: Run, found: Predictions | None, scores: Scores | None) -> Iterator[tuple[str, str]]:
    """Yield names and texts of what is known about the run as a whole."""
    images = _images(run)
    for split in ("test", "validation"):
        accuracy = run.metrics.get(f"{split}/accuracy")
        count = len(found.targets) if found is not None and split == "test" else images.get(split, 0)
        if accuracy is not None:
            yield f"{split} accuracy (%)", _accuracy(accuracy, count)
    for name, of in run.references.items():
        if "test/accuracy" in of:
            yield f"{name.replace('_', ' ')}, no network (%)", percent(of["test/accuracy"])
    if scores is not None:
        yield "balanced accuracy (%)", percent(scores.balanced_accuracy)
        yield "macro F1 (%)", percent(scores.macro_f1)
        yield "calibration", f"ECE {percent(scores.unscaled.ece)} %, NLL {scores.unscaled.nll:.3f} nats"
        if scores.scaled is not None and scores.temperature is not None:
            scaled = f"ECE {percent(scores.scaled.ece)} %, NLL {scores.scaled.nll:.3f} nats"
            yield "after temperature scaling", f"{scaled}; T = {scores.temperature:.2f}"
    if learning := _learning(run):
        yield "learning", learning
    selection = run.get("selection")
    if isinstance(selection, dict) and selection.get("rule"):
        yield "chosen", str(selection["rule"])
    yield from _costs(run)
    if images:
        yield "images", ", ".join(f"{count} {split}" for split, count in images.items())


def _accuracy(accuracy: float, count: int) -> str:
    low, high = share_interval(accuracy * count, count)
    return f"{percent(accuracy)} {interval(low, high)}, {count} images" if count else percent(accuracy)


def _images(run: Run) -> dict[str, int]:
    counts = run.get("pictures")
    counts = counts if isinstance(counts, dict) else {}
    found = {split: counts.get(split) for split in ("train", "validation", "test")}
    return {
        split: count
        for split, count in found.items()
        if isinstance(count, int) and not isinstance(count, bool) and 0 < count < 10**12
    }


def _learning(run: Run) -> str:
    """Return how accuracy on validation went; nothing for fits without epochs."""
    try:
        curve = run.read_curve()
    except DataError:
        return ""
    if "validation/accuracy" not in curve or set(TRIED) & set(curve):
        return ""
    known = curve.dropna(subset=["validation/accuracy"])
    if known.empty:
        return ""
    values, epochs = known["validation/accuracy"].to_numpy(float), known["epoch"].to_numpy(int) + 1
    losses = known["validation/loss"].to_numpy(float) if "validation/loss" in known else np.zeros(len(values))
    best = int(np.lexsort((np.nan_to_num(losses, nan=np.inf), -values))[0])  # as it is chosen: of ties the lowest loss
    text = f"validation {percent(values[0])} % in epoch {epochs[0]}"
    if len(values) > 1:
        text += f", best {percent(values[best])} % in epoch {epochs[best]}, last {percent(values[-1])} %"
    if "train/accuracy" in known and math.isfinite(train := float(known["train/accuracy"].to_numpy(float)[-1])):
        text += f"; training last {percent(train)} %"
    return text


def _costs(run: Run) -> Iterator[tuple[str, str]]:
    cost = run.cost
    if "train_seconds" in cost:
        speed = f", {amount(cost['samples_per_second'])} images/s" if "samples_per_second" in cost else ""
        yield "training (s)", f"{amount(cost['train_seconds'])}{speed}"
    if "trainable_parameters" in cost:
        of = f" of {amount(cost['total_parameters'])}" if "total_parameters" in cost else ""
        yield "parameters trained", f"{amount(cost['trainable_parameters'])}{of}"
    if peak := cost.get("peak_memory_bytes"):
        yield "peak memory", _memory(peak)


def _memory(size: float) -> str:
    return next((f"{size / one:.2f} {unit}" for unit, one in MEMORY if size >= one), f"{size:.0f} B")


def _share(right: int, count: int) -> Cell:
    return (percent(right / count), right / count) if count else (NOTHING, None)


def _number(count: int) -> Cell:
    return str(count), float(count)


def _classes(found: Predictions) -> RunSection:
    """Recall by class, the worst first; classes without test images last."""
    counts = _counts(found)
    rows: list[tuple[float, list[Cell], dict[str, Any]]] = []
    for index, name in enumerate(found.classes):
        images, right = int(counts[index].sum()), int(counts[index, index])
        low, high = share_interval(right, images)
        others = counts[index].copy()
        others[index] = 0
        wrong = int(others.max())
        taken = f"{found.classes[int(others.argmax())]} ({wrong})" if wrong else NOTHING
        predicted = int(counts[:, index].sum())
        cells: list[Cell] = [
            (name, name), _number(images), _number(predicted), _share(right, images),
            (interval(low, high), low if images else None), (taken, taken),
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


def _confusions(found: Predictions) -> list[RunSection]:
    """Pairs of classes by how many images of the one were predicted as the other."""
    counts = _counts(found)
    images = counts.sum(axis=1)
    np.fill_diagonal(counts, 0)
    pairs = np.argwhere(counts > 0)
    if not len(pairs):
        return []
    pairs = pairs[np.argsort(-counts[tuple(pairs.T)], kind="stable")]
    rows: list[list[Cell]] = [
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


def _mistakes(found: Predictions) -> list[RunSection]:
    """Wrong predictions, the most confident first."""
    said = found.probabilities[np.arange(len(found.said)), found.said]
    true = found.probabilities[np.arange(len(found.said)), found.targets]
    wrong = np.flatnonzero(~found.correct)
    wrong = wrong[np.argsort(-said[wrong], kind="stable")]
    rows: list[list[Cell]] = [
        [
            (found.ids[row], found.ids[row]),
            (found.classes[found.targets[row]], None),
            (found.classes[found.said[row]], None),
            (percent(float(said[row])), float(said[row])),
            (percent(float(true[row])), float(true[row])),
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


def _counts(found: Predictions) -> NDArray[Any]:
    return confusion_counts(found.targets, found.said, len(found.classes))
