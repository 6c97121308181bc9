"""Read, check and describe targets that are several labels per image."""

from __future__ import annotations

import json
from collections import Counter
from collections.abc import Collection, Mapping, Sequence
from typing import Any

import numpy as np
from numpy.typing import NDArray

from headstart.errors import DataError, nearest
from headstart.inputs.collection import Targets
from headstart.inputs.found import images_text
from headstart.targets.labels import NAMED, SEVERAL, suspicious_labels
from headstart.targets.rules import Cells

BINARY = {"0": 0.0, "1": 1.0, "0.0": 0.0, "1.0": 1.0, "false": 0.0, "true": 1.0}  # cells in the column of a label


def labels_of(cell: str) -> list[str]:
    """Return the labels in a cell, which are separated by ``;`` or ``|``, or a JSON list. Raises ValueError."""
    if not cell.startswith("["):
        return [label for label in SEVERAL.split(cell.strip()) if label]
    try:
        found = json.loads(cell)
    except (ValueError, RecursionError):
        raise ValueError(f"'{cell[:40]}' is no JSON list") from None
    if not all(isinstance(label, str) and label.strip() for label in found):
        raise ValueError(f"'{cell[:40]}' is no list of texts")
    return [label.strip() for label in found]


def labels_cell(labels: Sequence[str]) -> str:
    """Return labels as a cell that ``labels_of`` reads."""
    joined = ";".join(labels)
    return joined if not joined.startswith("[") and labels_of(joined) == list(labels) else json.dumps(list(labels))


class LabelSets:
    """Rules for targets that are 0 or 1 for each of K labels, float32 (N, K); the class names are the labels."""

    from_folders = False
    masks_of = ""
    columns = "labels"
    label_columns: Sequence[str] = ("labels", "label")
    may_be_empty = True
    several_labels = True
    balances: Collection[str] = ("none", "loss")

    def read(
        self, cells: Mapping[str, Cells], names: Sequence[str], place: str
    ) -> tuple[list[str], dict[str, NDArray[Any]], list[str]]:
        """Return the labels, the targets of each split, and warnings.

        A row has 0 or 1 in each of the columns ``names``, or one cell with labels if there are no names. Raises
        DataError for another cell, and for a label that train lacks.
        """
        if names:
            return list(names), {split: _binary(rows, names, place) for split, rows in cells.items()}, []
        sets = {split: [_labels(cell, place) for (cell,) in rows] for split, rows in cells.items()}
        counts = Counter(label for rows in sets.values() for labels in rows for label in set(labels))
        if not counts:
            raise DataError(f"No image of '{place}' has a label; task=multilabel needs some.")
        commas = sum("," in label for label in counts)
        if commas > len(counts) / 2:
            label = next(label for label in counts if "," in label)
            raise DataError(f"Labels of '{place}' such as '{label}' have commas; separate labels with ';'.")
        warnings = suspicious_labels(counts)
        twice = sum(len(set(labels)) < len(labels) for rows in sets.values() for labels in rows)
        if twice:
            warnings.append(f"{images_text(twice)} with a label that is named twice; it counts once")
        class_names = sorted({label for labels in sets["train"] for label in labels})
        numbers = {name: number for number, name in enumerate(class_names)}
        targets = {}
        for split, rows in sets.items():
            targets[split] = np.zeros((len(rows), len(class_names)), dtype=np.float32)
            for row, labels in enumerate(rows):
                for label in labels:
                    if label not in numbers:
                        raise DataError(f"Label '{label}' of {split} is missing in train.{nearest(label, class_names)}")
                    targets[split][row, numbers[label]] = 1
        return class_names, targets, warnings

    def strata(self, targets: NDArray[Any], class_names: Sequence[str]) -> tuple[Targets, list[str]]:
        """Return one stratum, for splits by groups of images, which ignore labels; other splits do not use strata."""
        return np.zeros(len(targets), dtype=np.int64), ["all images"]

    def check(self, splits: Mapping[str, NDArray[Any]], class_names: Sequence[str]) -> None:
        """Raise DataError for a label that no or every training image has, and for a split without labels."""
        positives = splits["train"].sum(axis=0)
        for label in np.flatnonzero((positives == 0) | (positives == len(splits["train"]))).tolist():
            many = "no image has" if positives[label] == 0 else "every image has"
            raise DataError(f"In train {many} the label '{class_names[label]}', so it cannot be learned.")
        for split, targets in splits.items():
            if len(targets) and not targets.any():
                raise DataError(f"No {split} image has a label, so there is no average precision.")

    def absent(self, splits: Mapping[str, NDArray[Any]], class_names: Sequence[str]) -> list[str]:
        """Return a sentence for each split that lacks labels."""
        sentences = []
        for split, targets in splits.items():
            names = [class_names[label] for label in np.flatnonzero(targets.sum(axis=0) == 0).tolist()]
            if names:
                shown = ", ".join(f"'{name}'" for name in names[:NAMED]) + ", ..." * (len(names) > NAMED)
                sentences.append(
                    f"{split} has no image with {len(names)} of {len(class_names)} labels ({shown}), so its mAP leaves"
                    " them out"
                )
        return sentences

    def describe(self, targets: NDArray[Any], class_names: Sequence[str], balance: str) -> tuple[str, list[str]]:
        """Return the labels as text, and lines on how often they occur in train."""
        counts = targets.sum(axis=0).astype(int)
        few, most = int(counts.argmin()), int(counts.argmax())
        some = f"{counts[few]} ({class_names[few]}) to {counts[most]} ({class_names[most]}) images"
        lines = [
            f"{some if counts[few] < counts[most] else images_text(int(counts[few]))} per label in train,"
            f" {targets.sum() / len(targets):.2g} labels per image, {images_text(int((~targets.any(axis=1)).sum()))}"
            " without any"
        ]
        if balance == "loss":
            weights = positive_weights(targets)
            lines.append(
                f"balance: loss, positives weigh {weights[most]:.2g} ({class_names[most]}) to {weights[few]:.2g}"
                f" ({class_names[few]})"
            )
        more = ", ..." if len(class_names) > NAMED else ""
        return f"{len(class_names)} labels ({', '.join(class_names[:NAMED])}{more})", lines

    def text(self, target: Any, class_names: Sequence[str]) -> str:
        """Return the labels of an image, separated by ``;`` or as a JSON list."""
        return labels_cell([name for name, has in zip(class_names, np.asarray(target).tolist(), strict=True) if has])


def positive_weights(targets: NDArray[Any]) -> NDArray[np.float64]:
    """Return negatives / positives of each label, (K,): as weights of the positives, they balance a loss."""
    positives = np.asarray(targets, dtype=np.float64).sum(axis=0)
    return (len(targets) - positives) / np.maximum(positives, 1)


def _labels(cell: str, place: str) -> list[str]:
    try:
        return labels_of(cell)
    except ValueError as error:
        raise DataError(f"'{place}' has labels that cannot be read: {error}; separate them with ';'.") from None


def _binary(rows: Cells, names: Sequence[str], place: str) -> NDArray[np.float32]:
    """Return cells of 0 or 1 as numbers (N, K). Raises DataError for another cell."""
    for row in rows:
        for cell, name in zip(row, names, strict=True):
            if cell.lower() not in BINARY:
                shown = f"'{cell}'" if cell else "an empty cell"
                raise DataError(f"Column '{name}' of '{place}' has {shown}; task=multilabel needs 0 or 1.")
    return np.array([[BINARY[cell.lower()] for cell in row] for row in rows], dtype=np.float32)
