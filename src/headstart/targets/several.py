"""Read, check and describe the targets of several outputs."""

from __future__ import annotations

from collections.abc import Collection, Iterator, Mapping, Sequence
from contextlib import contextmanager
from typing import Any

import numpy as np
from numpy.typing import NDArray

from headstart.errors import DataError
from headstart.inputs.collection import Targets
from headstart.settings.parts import PartSettings
from headstart.targets.rules import Cells, TargetRules

SEPARATOR = "/"  # between the name of an output and one of its classes, numbers or labels


def names_of(part: str, class_names: Sequence[str]) -> list[str]:
    """Return the classes, numbers or labels of an output, from the names of all outputs."""
    start = f"{part}{SEPARATOR}"
    return [name.removeprefix(start) for name in class_names if name.startswith(start)]


class SeveralTargets:
    """Rules for targets that are the columns of all outputs, float64 (N, columns); a class is a column of its index.

    The class names are those of all outputs, each after the name of its output: species/ant, box/x. Splits are even in
    the strata of the primary output. If it has several labels per image, and so no strata, the next output counts.
    """

    from_folders = False
    masks_of = ""
    columns = ""
    label_columns: Sequence[str] = ()
    may_be_empty = True  # except in ``needed_columns``
    several_labels = False
    balances: Collection[str] = ("none",)

    def __init__(self, rules: Mapping[str, TargetRules], settings: Mapping[str, PartSettings], primary: str) -> None:
        self.rules, self.settings, self.primary = rules, settings, primary

    @property
    def column_names(self) -> list[str]:
        """Return the columns of a list that hold the targets."""
        return [column for part in self.settings.values() for column in part.columns]

    @property
    def needed_columns(self) -> set[str]:
        """Return the columns that may have no empty cell."""
        return {
            column
            for name, part in self.settings.items()
            for column in part.columns
            if part.listed or not self.rules[name].may_be_empty
        }

    def width(self, name: str, class_names: Sequence[str]) -> int:
        """Return the number of columns of an output in the targets."""
        return 1 if self.settings[name].kind == "classification" else len(names_of(name, class_names))

    def part(self, name: str, targets: NDArray[Any], class_names: Sequence[str]) -> NDArray[Any]:
        """Return the targets of one output, in the format of its kind, from targets (N, columns)."""
        start = 0
        for other in self.settings:
            if other == name:
                break
            start += self.width(other, class_names)
        own = targets[..., start : start + self.width(name, class_names)]
        if self.settings[name].kind == "classification":
            return own[..., 0].astype(np.int64)
        return own.astype(np.float32) if self.settings[name].kind == "multilabel" else own

    def read(
        self, cells: Mapping[str, Cells], names: Sequence[str], place: str
    ) -> tuple[list[str], dict[str, NDArray[Any]], list[str]]:
        """Return the names of all outputs, the targets of each split, and warnings. Raises DataError."""
        class_names: list[str] = []
        columns: dict[str, list[NDArray[Any]]] = {split: [] for split in cells}
        warnings: list[str] = []
        start = 0
        for name, part in self.settings.items():
            end = start + len(part.columns)
            own = {split: [row[start:end] for row in rows] for split, rows in cells.items()}
            keep = part.columns if part.listed or part.kind == "regression" else ()
            with _named(name):
                found, targets, notes = self.rules[name].read(own, keep, place)
            class_names += [f"{name}{SEPARATOR}{one}" for one in found]
            warnings += [f"output '{name}': {note}" for note in notes]
            for split, values in targets.items():
                columns[split].append(values.reshape(len(values), -1).astype(np.float64))
            start = end
        return class_names, {split: np.concatenate(parts, axis=1) for split, parts in columns.items()}, warnings

    def strata(self, targets: NDArray[Any], class_names: Sequence[str]) -> tuple[Targets, list[str]]:
        """Return the strata of the primary output or, if it has none, of the first output that has strata."""
        order = sorted(self.rules, key=lambda name: name != self.primary)
        chosen = next((name for name in order if not self.rules[name].several_labels), self.primary)
        return self.rules[chosen].strata(self.part(chosen, targets, class_names), names_of(chosen, class_names))

    def check(self, splits: Mapping[str, NDArray[Any]], class_names: Sequence[str]) -> None:
        """Raise DataError for targets of an output that cannot be trained on."""
        for name, rules in self.rules.items():
            with _named(name):
                rules.check(self._of_splits(name, splits, class_names), names_of(name, class_names))

    def absent(self, splits: Mapping[str, NDArray[Any]], class_names: Sequence[str]) -> list[str]:
        """Return a sentence for each split and output that lacks classes or labels."""
        return [
            f"output '{name}': {sentence}"
            for name, rules in self.rules.items()
            for sentence in rules.absent(self._of_splits(name, splits, class_names), names_of(name, class_names))
        ]

    def describe(self, targets: NDArray[Any], class_names: Sequence[str], balance: str) -> tuple[str, list[str]]:
        """Return the outputs as text, and lines about each."""
        phrases, lines = [], []
        for name, rules in self.rules.items():
            phrase, more = rules.describe(self.part(name, targets, class_names), names_of(name, class_names), balance)
            phrases.append(f"{name}: {phrase}")
            lines += [f"{name}: {line}" for line in more]
        return f"{len(phrases)} output{'s' * (len(phrases) > 1)} ({'; '.join(phrases)})", lines

    def text(self, target: Any, class_names: Sequence[str]) -> str:
        """Return the targets of all outputs as text."""
        return "; ".join(
            f"{name}: {rules.text(self.part(name, np.atleast_1d(target), class_names), names_of(name, class_names))}"
            for name, rules in self.rules.items()
        )

    def _of_splits(
        self, name: str, splits: Mapping[str, NDArray[Any]], class_names: Sequence[str]
    ) -> dict[str, NDArray[Any]]:
        return {split: self.part(name, targets, class_names) for split, targets in splits.items()}


@contextmanager
def _named(part: str) -> Iterator[None]:
    """Put the name of an output before the message of a DataError."""
    try:
        yield
    except DataError as error:
        raise DataError(f"Output '{part}': {error}") from None
