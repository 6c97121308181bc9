"""predictions.csv to arrays: what a network said of every picture of a split."""

from __future__ import annotations

import csv
import hashlib
from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path

import numpy as np
from numpy.typing import NDArray

from headstart.errors import DataError
from headstart.reports.read import first_line

FIXED = ("id", "target", "prediction")  # the columns before those of the classes


@dataclass(frozen=True)
class Predictions:
    """N pictures and C classes, in the order of the file."""

    ids: Sequence[str]
    targets: NDArray[np.int64]  # (N,) index into the classes
    said: NDArray[np.int64]  # (N,)
    probabilities: NDArray[np.float64]  # (N, C)
    classes: Sequence[str]

    @property
    def correct(self) -> NDArray[np.bool_]:
        """(N,) whether what was said is the target."""
        return self.said == self.targets

    @property
    def pictures(self) -> str:
        """A digest of ids and targets: equal for two runs that were tested on the same pictures in the same order."""
        names = "\0".join([*self.classes, *self.ids])
        return hashlib.sha256(names.encode() + self.targets.tobytes()).hexdigest()


def read_predictions(path: Path) -> Predictions:
    """Read a file of predictions. Raises DataError, in one sentence, when it is missing or damaged."""
    import pandas as pd

    try:
        with path.open(encoding="utf-8", newline="") as file:
            header = next(csv.reader(file), [])
        if tuple(header[:3]) != FIXED or len(header) < 5:
            raise DataError(f"{path.name} does not begin with the columns {', '.join(FIXED)} and one a class")
        classes = header[3:]
        table = pd.read_csv(
            path,
            header=0,
            names=list(range(len(header))),
            dtype={0: str, 1: str, 2: str, **dict.fromkeys(range(3, len(header)), np.float64)},
            keep_default_na=False,
            engine="c",
        )
    except FileNotFoundError:
        raise DataError(f"{path.name} is missing") from None
    except (OSError, ValueError) as error:
        raise DataError(f"{path.name} cannot be read ({first_line(error)})") from None
    names = pd.Index(classes)
    if not names.is_unique:
        raise DataError(f"{path.name} names a class twice")
    targets, said = (names.get_indexer(pd.Index(table[column])).astype(np.int64) for column in (1, 2))
    probabilities = table.iloc[:, 3:].to_numpy(np.float64)
    if not len(table) or min(targets.min(), said.min()) < 0:
        raise DataError(f"{path.name} holds no picture, or a class that has no column")
    if not (np.isfinite(probabilities).all() and (probabilities >= 0).all()):
        raise DataError(f"{path.name} holds probabilities that are none")
    return Predictions(table[0].tolist(), targets, said, probabilities, classes)
