"""Compute the learning curves of a group: mean and band over its runs."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray

from headstart.comparison.panels import Panel
from headstart.comparison.table import RunGroup
from headstart.errors import DataError
from headstart.records.runs import TRIED

SPLITS = ("train", "validation")


@dataclass(frozen=True)
class Band:
    """The mean and one sample deviation on either side, by epoch from 1; (E,) each."""

    epochs: NDArray[np.int64]
    mean: NDArray[np.float64]
    deviation: NDArray[np.float64]
    """0 if only one run has the epoch."""

    @property
    def low(self) -> NDArray[np.float64]:
        """Return the lower edge."""
        return self.mean - self.deviation

    @property
    def high(self) -> NDArray[np.float64]:
        """Return the upper edge."""
        return self.mean + self.deviation


Curves = Mapping[str, Band]
"""Bands by column of metrics.csv; empty for fits without epochs."""


def read_curves(panel: Panel) -> dict[str, Curves]:
    """Return the curves of each group, by its label."""
    found: dict[str, Curves] = {}
    columns = [f"{split}/{name}" for name in (panel.metric.name, "loss") for split in SPLITS]
    for group in panel.groups:
        bands = {column: band(group, column) for column in columns}
        found[group.label] = {column: known for column, known in bands.items() if known is not None}
    return found


def band(group: RunGroup, column: str) -> Band | None:
    """Return a column of metrics.csv over the runs of a group; None without epochs or without that column."""
    curves = []
    for run in group.runs:
        try:
            curve = run.read_curve()
        except DataError:  # read_runs has reported it
            continue
        if column in curve and not set(TRIED) & set(curve):
            curves.append(dict(zip(curve["epoch"].to_numpy(np.int64) + 1, curve[column].to_numpy(float), strict=True)))
    epochs = sorted({epoch for curve in curves for epoch in curve})
    if not epochs:
        return None
    table = np.array([[curve.get(epoch, np.nan) for epoch in epochs] for curve in curves])
    known = np.isfinite(table)
    count = known.sum(axis=0)
    kept = count > 0
    if not kept.any():
        return None
    table, known, count = table[:, kept], known[:, kept], count[kept]
    mean = np.where(known, table, 0).sum(axis=0) / count
    squares = np.where(known, (table - mean) ** 2, 0).sum(axis=0)
    return Band(np.array(epochs)[kept], mean, np.sqrt(squares / np.maximum(count - 1, 1)))
