"""Write as CSV, and read, for which images two views match."""

from __future__ import annotations

import csv
import io
from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray

from headstart.errors import DataError
from headstart.kinds.kind import PredictionTable, digest
from headstart.kinds.rows import numbered_rows

HEADER = ("number", "id", "matched")


@dataclass(frozen=True)
class MatchPredictions:
    """Whether the views of each of N images match, in the order of the file."""

    ids: Sequence[str]
    matched: NDArray[np.float64]  # (N,), 1 or 0

    @property
    def per_image(self) -> NDArray[np.float64]:
        """Return 1.0 for each image whose views match, 0.0 for the others, (N,)."""
        return self.matched

    @property
    def targets(self) -> NDArray[np.float64]:
        """Return ones, as every image should match, (N,)."""
        return np.ones(len(self.matched))

    @property
    def values(self) -> NDArray[np.float64]:
        """Return whether each image matches, (N, 1)."""
        return self.matched[:, None]

    @property
    def images(self) -> str:
        """Return a digest of the ids, equal for two runs tested on the same images in the same order."""
        return digest(list(self.ids), self.targets)

    def text(self) -> str:
        """Return the CSV file: the number of the row from 0, id, and 1 or 0."""
        text = io.StringIO()
        table = csv.writer(text, lineterminator="\n")
        table.writerow(HEADER)
        table.writerows([number, name, int(self.matched[number])] for number, name in enumerate(self.ids))
        return text.getvalue()


@dataclass(frozen=True)
class NoScores:
    """No scores besides the primary metric."""

    numbers: Mapping[str, float]

    def measures(self) -> Iterable[tuple[str, str]]:
        """Return nothing."""
        return ()


def parse_matches(table: PredictionTable, name: str) -> MatchPredictions:
    """Return the predictions in a file, called ``name`` in messages. Raises DataError or ValueError."""
    if tuple(table.header) != HEADER:
        raise DataError(f"{name} does not have the columns {', '.join(HEADER)}")
    ids: list[str] = []
    matched = np.empty(table.lines)
    for rows, part in numbered_rows(table, name, {0: np.int64, 1: str, 2: np.int64}):
        matched[rows] = part[2].to_numpy()
        if not np.isin(matched[rows], (0, 1)).all():
            raise DataError(f"{name} holds another number than 0 or 1")
        ids += part[1].tolist()
    if not ids:
        raise DataError(f"{name} holds no image")
    return MatchPredictions(ids, matched[: len(ids)])
