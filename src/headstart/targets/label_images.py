"""Describe and split targets that are label images; ``masks`` reads their files."""

from collections.abc import Collection, Mapping, Sequence
from typing import Any

import numpy as np
from numpy.typing import NDArray

from headstart.inputs.collection import Targets
from headstart.targets.labels import classes_text
from headstart.targets.rules import Cells

IMBALANCED = 3  # a hint is given if the largest class has this many times the pixels of the smallest


class LabelImageRules:
    """Rules for targets that are label images; the data set reads and checks the images."""

    from_folders = False
    masks_of = "classes"
    several_labels = False
    columns = ""
    label_columns: Sequence[str] = ("mask",)
    may_be_empty = False
    balances: Collection[str] = ("none", "loss")

    def read(
        self, cells: Mapping[str, Cells], names: Sequence[str], place: str
    ) -> tuple[list[str], dict[str, NDArray[Any]], list[str]]:
        """Return no class names and zeros as targets, as the cells of a list are names of files."""
        return [], {split: np.zeros(len(rows), dtype=np.int64) for split, rows in cells.items()}, []

    def strata(self, targets: NDArray[Any], class_names: Sequence[str]) -> tuple[Targets, list[str]]:
        """Return one stratum, as an image holds several classes."""
        return np.zeros(len(targets), dtype=np.int64), ["all images"]

    def check(self, splits: Mapping[str, NDArray[Any]], class_names: Sequence[str]) -> None:
        """Do nothing, as label images are checked when they are read."""

    def absent(self, splits: Mapping[str, NDArray[Any]], class_names: Sequence[str]) -> list[str]:
        """Return no sentence, as classes are counted when label images are read."""
        return []

    def describe(self, targets: Any, class_names: Sequence[str], balance: str) -> tuple[str, list[str]]:
        """Return the classes as text, and lines on their shares of the training pixels."""
        counts = pixel_counts(targets).sum(axis=0)
        few, most = int(counts.argmin()), int(counts.argmax())
        shares, pixels = counts / max(1, counts.sum()), sum(file.width * file.height for file in targets.files)
        line = (
            f"{100 * shares[few]:.2g} % ({class_names[few]}) to {100 * shares[most]:.2g} % ({class_names[most]}) of the"
            f" pixels in train; {100 * (1 - counts.sum() / pixels):.2g} % have no class"
        )
        lines = [line]
        if counts[most] >= IMBALANCED * counts[few] and balance == "none":
            lines.append("classes differ in size: dataset.balance=loss lets each count the same")
        return classes_text(class_names), lines

    def text(self, target: Any, class_names: Sequence[str]) -> str:
        """Return the first digits of the hash of a mask; "" if masks are not read yet."""
        return f"mask {target[:8]}" if isinstance(target, str) else ""


def pixel_counts(targets: Any) -> NDArray[np.int64]:
    """Return the number of pixels of each class in each mask, (N, classes)."""
    return np.array([file.counts for file in targets.files], dtype=np.int64).reshape(len(targets), -1)
