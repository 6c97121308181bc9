"""Read and write predictions.csv and validation_predictions.csv: the prediction for every image."""

from __future__ import annotations

from collections.abc import Sequence
from pathlib import Path
from typing import TYPE_CHECKING

import numpy as np

from headstart.boundary.opening import unreadable
from headstart.boundary.tables import MOST_PREDICTIONS, PREDICTION_CELLS, open_table
from headstart.files import write_atomically
from headstart.kinds import Kind, Predictions
from headstart.kinds.class_predictions import ClassPredictions
from headstart.kinds.classification import ClassKind

if TYPE_CHECKING:
    from torch import Tensor


def read_predictions(path: Path, kind: Kind) -> Predictions:
    """Read a file of predictions. Raises DataError, in one sentence, when it is missing or damaged."""
    table = open_table(path.parent, path.name, MOST_PREDICTIONS, PREDICTION_CELLS)
    with table.file:
        try:
            return kind.parse(table, path.name)
        except (OSError, ValueError) as error:
            raise unreadable(path.name, error) from None


def read_class_predictions(path: Path) -> ClassPredictions:
    """Read the predictions of a classifier. Raises DataError, in one sentence, when they are missing or damaged."""
    found = read_predictions(path, ClassKind())
    assert isinstance(found, ClassPredictions)
    return found


def write_predictions(
    path: Path,
    ids: Sequence[str],
    targets: np.ndarray,
    outputs: Tensor,
    classes: Sequence[str],
    kind: Kind,
) -> None:
    """Write a row per image from the outputs of a network, (N, ...), in the form that ``kind.predicted`` takes.

    If the trainer limits the test to the first images, only those are listed. ``classes`` may be empty if targets are
    not classes.
    """
    count = len(outputs)
    write_atomically(path, kind.predicted(ids[:count], targets[:count], outputs, classes).text())
