"""What several tables share: a row a group with its settings, and numbers with the runs behind them."""

import math
from collections.abc import Callable, Sequence

from headstart.comparison.formats import accuracy, amount, percent, setting, split_keys
from headstart.comparison.table import RunGroup, Statistic
from headstart.records.keys import short_names
from headstart.reports.tables.model import Cell, Column, ReportTable
from headstart.statistics import score_interval

GroupColumn = tuple[Column, Callable[[RunGroup], Cell]]
"""A column, and what it shows of a group."""


def group_table(
    id: str, title: str, note: str, groups: Sequence[RunGroup], columns: Sequence[GroupColumn], references: bool = True
) -> ReportTable:
    """Return a row a group: the settings that tell the groups apart, then ``columns``; references only if wanted."""
    keys, _ = split_keys(groups)
    names = short_names(keys)
    numbers = [all(isinstance(group.key[key], int | float | None) for group in groups) for key in keys]
    return ReportTable(
        id,
        title,
        note,
        [
            *(Column(names[key], "number" if numeric else "text") for key, numeric in zip(keys, numbers, strict=True)),
            *(column for column, _ in columns),
        ],
        [
            [*(_setting(group.key[key]) for key in keys), *(show(group) for _, show in columns)]
            for group in groups
            if references or not group.reference
        ],
    )


def score_cell(score: Statistic, runs: tuple[int, ...], bold: bool = False) -> Cell:
    """Return mean and deviation of a share, in percent."""
    return Cell(accuracy(score), score.mean, runs, bold)


def share_cell(share: float, runs: tuple[int, ...] = ()) -> Cell:
    """Return a share in percent; nothing for NaN."""
    return Cell(percent(share), share, runs)


def amount_cell(value: float, runs: tuple[int, ...]) -> Cell:
    """Return three digits with a unit; nothing for NaN."""
    return Cell(amount(value), value, runs)


def count_cell(count: int, runs: tuple[int, ...] = ()) -> Cell:
    """Return a whole number."""
    return Cell(str(count), count, runs)


def _setting(value: object) -> Cell:
    return Cell(setting(value), value if isinstance(value, int | float) else None)


def share_interval(right: float, count: int) -> tuple[float, float]:
    """Return the 95 % interval of a share, right out of count, as of the accuracy of one run; NaN without any."""
    if not count:
        return math.nan, math.nan
    found = score_interval(right / count, 0.0, 1, count)
    return found.low, found.high
