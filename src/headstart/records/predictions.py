"""Write predictions.csv and validation_predictions.csv: the prediction for every image."""

import csv
import io
from collections.abc import Sequence
from pathlib import Path

import numpy as np
from torch import Tensor

from headstart.files import write_atomically


def write_predictions(path: Path, ids: Sequence[str], targets: np.ndarray, logits: Tensor, classes: list[str]) -> None:
    """Write one row an image: id, target, prediction, then the probability of each class in the order of ``classes``.

    ``logits`` is (N, classes). If only the first images were tested (a limit of the trainer), only those are listed.
    Probabilities have 12 digits. The prediction is the largest logit, which these digits may not show.
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
