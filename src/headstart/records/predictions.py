"""predictions.csv and validation_predictions.csv: what the network said of every image."""

import csv
import io
from collections.abc import Sequence
from pathlib import Path

import numpy as np
from torch import Tensor

from headstart.files import write_atomically


def write_predictions(path: Path, ids: Sequence[str], targets: np.ndarray, logits: Tensor, classes: list[str]) -> None:
    """One row an image: id, target, prediction, and from the fourth column on the probability of each class, in order.

    ``logits`` is (N, classes). When only the first images were tested (a limit of the trainer), only those are
    listed. Probabilities are written with 12 digits; the prediction is that of the logits, which may differ by less.
    """
    said = logits.argmax(dim=1).tolist()
    probabilities = logits.double().softmax(dim=1).numpy()
    text = io.StringIO()
    table = csv.writer(text, lineterminator="\n")
    table.writerow(["id", "target", "prediction", *classes])
    for row, (name, target) in enumerate(zip(ids[: len(logits)], targets[: len(logits)], strict=True)):
        table.writerow(
            [name, classes[int(target)], classes[said[row]], *(f"{value:.12g}" for value in probabilities[row])]
        )
    write_atomically(path, text.getvalue())
