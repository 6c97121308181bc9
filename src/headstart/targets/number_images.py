"""Describe and split targets that are images of numbers, a number for each pixel; ``masks`` reads their files."""

import math
from collections.abc import Collection, Mapping, Sequence
from typing import Any

from headstart.targets.label_images import LabelImageRules


class NumberImageRules(LabelImageRules):
    """Rules for targets that are images of numbers; the data set reads and checks the images."""

    masks_of = "numbers"
    balances: Collection[str] = ("none",)

    def describe(self, targets: Any, class_names: Sequence[str], balance: str) -> tuple[str, list[str]]:
        """Return a phrase, and a line on the training numbers: range, mean, deviation, and pixels without a number."""
        found = statistics_of(targets)
        pixels = sum(file.width * file.height for file in targets.files)
        line = (
            f"numbers from {found['low']:.4g} to {found['high']:.4g}, mean {found['mean']:.4g}, deviation"
            f" {found['deviation']:.4g}; {100 * (1 - found['count'] / pixels):.2g} % of the pixels have none"
        )
        return "a number for each pixel", [line]


def statistics_of(targets: Any) -> Mapping[str, float]:
    """Return count, mean, deviation, lowest ("low") and highest ("high") of the numbers in all files of a split."""
    files = targets.files
    count, total, squares = (sum(getattr(file, name) for file in files) for name in ("count", "total", "squares"))
    mean = total / count
    return {
        "count": count, "mean": mean, "deviation": math.sqrt(max(squares / count - mean**2, 0)),
        "low": min(file.low for file in files), "high": max(file.high for file in files),
    }  # fmt: skip
