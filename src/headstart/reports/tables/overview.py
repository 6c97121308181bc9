"""Make the overview table of one run: its scores, learning curve and cost."""

from __future__ import annotations

import math
from collections.abc import Iterator

import numpy as np

from headstart.comparison.formats import amount
from headstart.errors import DataError
from headstart.kinds import Predictions
from headstart.kinds.kind import FurtherScores
from headstart.records.runs import TRIED, Run
from headstart.report_table import Cell, Column, ReportTable
from headstart.statistics import mean_interval, score_interval

MEMORY = (("TiB", 2**40), ("GiB", 2**30), ("MiB", 2**20), ("KiB", 2**10))


def overview_table(run: Run, predictions: Predictions | None, scores: FurtherScores | None) -> ReportTable:
    """Return one row per measure; without predictions, the measures that run.json holds."""
    rows = [[Cell(name), Cell(text)] for name, text in _measures(run, predictions, scores)]
    return ReportTable("overview", "Overview", "", [Column("measure"), Column("value")], rows)


def _measures(run: Run, predictions: Predictions | None, scores: FurtherScores | None) -> Iterator[tuple[str, str]]:
    """Yield the name and the text of each known measure."""
    images = _images(run)
    metric = run.metric
    for split, value in (("test", run.test), ("validation", run.validation)):
        tested = predictions if split == "test" else None
        if value is not None:
            yield metric.axis(split), _score(run, value, tested, images.get(split, 0))
    for name, reference in run.references.items():
        if (value := reference.get(f"test/{metric.name}")) is not None:
            unit = f" ({metric.unit})" if metric.unit else ""
            yield f"{name.replace('_', ' ')}, no network{unit}", metric.number(value)
    if scores is not None:
        yield from (one for one in scores.measures() if one[0].casefold() != run.metric.words.casefold())
    if learning := _learning(run):
        yield "learning", learning
    selection = run.get("selection")
    if isinstance(selection, dict) and selection.get("rule"):
        yield "chosen", str(selection["rule"])
    yield from _costs(run)
    if images:
        yield "images", ", ".join(f"{count} {split}" for split, count in images.items())


def _score(run: Run, value: float, tested: Predictions | None, count: int) -> str:
    """Return the primary metric with its 95 % interval over images, if it has one."""
    metric, count = run.metric, count if tested is None else len(tested.ids)
    if not count:
        return metric.number(value)
    low = high = math.nan
    if run.kind.right_or_wrong:
        found = score_interval(value, 0.0, 1, count)
        low, high = found.low, found.high
    elif tested is not None and (scores := run.kind.per_image(tested, metric.name)) is not None:
        found = mean_interval(scores[None])
        low, high = metric.clipped(found.low), metric.clipped(found.high)
    interval = "" if math.isnan(low) else f" {metric.interval(low, high)}"
    return f"{metric.number(value)}{interval}, {count} images"


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
    """Return a summary of the learning curve on validation; empty for fits without epochs."""
    try:
        curve = run.read_curve()
    except DataError:
        return ""
    metric = run.metric
    train, validation = (f"{split}/{metric.name}" for split in ("train", "validation"))
    if validation not in curve or set(TRIED) & set(curve):
        return ""
    known = curve.dropna(subset=[validation])
    if known.empty:
        return ""
    values, epochs = known[validation].to_numpy(float), known["epoch"].to_numpy(int) + 1
    losses = known["validation/loss"].to_numpy(float) if "validation/loss" in known else np.zeros(len(values))
    worse = np.array([-metric.gain(value) for value in values])
    best = int(np.lexsort((np.nan_to_num(losses, nan=np.inf), worse))[0])  # as in training: ties go to the lowest loss
    text = f"validation {metric.text(values[0])} in epoch {epochs[0]}"
    if len(values) > 1:
        text += f", best {metric.text(values[best])} in epoch {epochs[best]}, last {metric.text(values[-1])}"
    if train in known and math.isfinite(last := float(known[train].to_numpy(float)[-1])):
        text += f"; training last {metric.text(last)}"
    return text


def _costs(run: Run) -> Iterator[tuple[str, str]]:
    cost = run.cost
    if "train_seconds" in cost:
        speed = f", {amount(cost['samples_per_second'])} images/s" if "samples_per_second" in cost else ""
        yield "training (s)", f"{amount(cost['train_seconds'])}{speed}"
    if "trainable_parameters" in cost:
        total = f" of {amount(cost['total_parameters'])}" if "total_parameters" in cost else ""
        yield "parameters trained", f"{amount(cost['trainable_parameters'])}{total}"
    if peak := cost.get("peak_memory_bytes"):
        yield "peak memory", _memory(peak)


def _memory(size: float) -> str:
    return next((f"{size / one:.2f} {unit}" for unit, one in MEMORY if size >= one), f"{size:.0f} B")
