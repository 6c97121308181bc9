"""The table of one run as a whole: accuracy over images, calibration, learning curve, cost."""

from __future__ import annotations

import math
from collections.abc import Iterator

import numpy as np

from headstart.comparison.formats import amount, interval, percent
from headstart.comparison.predictions import Predictions
from headstart.comparison.scores import Scores
from headstart.errors import DataError
from headstart.records.runs import TRIED, Run
from headstart.reports.tables.cells import share_interval
from headstart.reports.tables.model import Cell, Column, ReportTable

MEMORY = (("TiB", 2**40), ("GiB", 2**30), ("MiB", 2**20), ("KiB", 2**10))


def overview_table(run: Run, found: Predictions | None, scores: Scores | None) -> ReportTable:
    """Return a row a measure; without predictions, those that run.json holds."""
    rows = [[Cell(name), Cell(text)] for name, text in _measures(run, found, scores)]
    return ReportTable("overview", "Overview", "", [Column("measure"), Column("value")], rows)


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
