"""Make the parts that tables share: one row per group with its settings, and numbers that name their runs."""

from __future__ import annotations

from collections.abc import Callable, Iterable, Sequence
from dataclasses import replace
from operator import attrgetter
from typing import TYPE_CHECKING

from headstart.comparison.formats import accuracy, amount, mean_cell, setting, split_keys
from headstart.comparison.table import RunGroup, Statistic
from headstart.records.keys import short_names
from headstart.records.runs import Run
from headstart.report_table import Cell, Column, ReportTable

if TYPE_CHECKING:
    from headstart.reports.analysis import Analysis

GroupColumn = tuple[Column, Callable[[RunGroup], Cell]]
"""A column, and the function that makes its cell for a group."""


def group_table(
    analysis: Analysis,
    names: tuple[str, str, str],
    groups: Sequence[RunGroup],
    columns: Sequence[GroupColumn],
    references: bool = True,
    runs_of: Callable[[RunGroup], Iterable[Run]] = attrgetter("runs"),
) -> ReportTable:
    """Return one row per group: the settings that differ, then ``columns``.

    ``names`` are id, title and note. References are rows if ``references``. ``runs_of`` gives the runs behind the
    numbers of a group.
    """
    keys, _ = split_keys(groups)
    short = short_names(keys)
    settings = []
    for key in keys:
        is_number = all(isinstance(group.key[key], int | float | None) for group in groups)
        settings.append(Column(short[key], "number" if is_number else "text"))
    rows = []
    for group in groups:
        if references or not group.reference:
            places = analysis.places(runs_of(group))
            cells = [(column, show(group)) for column, show in columns]
            numbers = (replace(cell, runs=places) if column.kind == "number" else cell for column, cell in cells)
            rows.append([*(_setting(group.key[key]) for key in keys), *numbers])
    return ReportTable(*names, [*settings, *(column for column, _ in columns)], rows)


def score_cell(score: Statistic, bold: bool = False) -> Cell:
    """Return mean and deviation of a share, in percent."""
    return Cell(accuracy(score), score.mean, bold=bold)


def metric_cell(group: RunGroup, score: Statistic, alone: bool, bold: bool = False, runs: tuple[int, ...] = ()) -> Cell:
    """Return mean and deviation of the primary metric; with its name unless it is ``alone`` in its column."""
    return Cell(mean_cell(score, group, alone), score.mean, runs, bold)


def amount_cell(value: float) -> Cell:
    """Return the cell of an amount: three digits with a unit, "–" for NaN."""
    return Cell(amount(value), value)


def _setting(value: object) -> Cell:
    return Cell(setting(value), value if isinstance(value, int | float) else None)
