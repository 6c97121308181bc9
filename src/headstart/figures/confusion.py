"""Draw a confusion matrix: the predictions for the images of each class."""

import math
from collections.abc import Sequence
from typing import Any

import numpy as np
from matplotlib.figure import Figure
from numpy.typing import NDArray

from headstart.errors import DataError
from headstart.figures.canvas import SMALL, new_figure, place, styled, text_width
from headstart.figures.dark import SHARES

NAMES = 60
"""Up to this many classes, every class name is shown."""


@styled
def draw_confusion(counts: Sequence[NDArray[Any]], classes: Sequence[str], title: str = "") -> Figure:
    """Draw the fractions of each true class (row) by prediction (column), in percent, averaged over runs.

    ``counts`` has one (C, C) array per run, as from ``confusion_counts``. Up to 20 classes, cells show numbers: from
    1 % for up to 10 classes, otherwise from 5 %. Raises DataError without runs.
    """
    if not len(counts):
        raise DataError("There are no predictions to draw a confusion matrix from.")
    shares = row_shares(counts)
    number = len(classes)
    side = max(1.9, min(0.4 * number, 5.0))
    cell = side / number
    size = min(SMALL, 0.9 * 72 * cell)
    step = 1 if number <= NAMES else math.ceil(6.5 / (72 * cell))
    size = size if step == 1 else 6.0
    shown = list(range(0, number, step))
    names = text_width([classes[index] for index in shown], size)
    left, bottom, head = names + 0.42, names + 0.4, 0.32 if title else 0.1
    figure = new_figure(left + side + 0.75, bottom + side + head)
    axes = place(figure, left, bottom, side, side)
    if number <= NAMES:
        axes.pcolormesh(100 * shares, cmap=SHARES, vmin=0, vmax=100)
    else:  # pcolormesh takes seconds for this many squares
        extent = (0, number, number, 0)
        axes.imshow(100 * shares, cmap=SHARES, vmin=0, vmax=100, interpolation="none", extent=extent, aspect="auto")
    axes.set(xlim=(0, number), ylim=(number, 0), xlabel="predicted", ylabel="true", title=title)
    axes.set_xticks(np.array(shown) + 0.5, [classes[index] for index in shown], rotation=90, fontsize=size)
    axes.set_yticks(np.array(shown) + 0.5, [classes[index] for index in shown], fontsize=size)
    axes.tick_params(bottom=False, left=False, length=0, pad=2)
    for spine in axes.spines.values():
        spine.set(visible=True, linewidth=0.6, color="#999999")
    if number <= 20:
        for row, column in zip(*np.nonzero(100 * shares >= (1 if number <= 10 else 5)), strict=True):
            share = 100 * shares[row, column]
            axes.text(
                column + 0.5, row + 0.5, f"{share:.0f}", ha="center", va="center", fontsize=min(7.5, 0.42 * 72 * cell),
                color="white" if share > 50 else "black",
            )  # fmt: skip
    scale = place(figure, left + side + 0.15, bottom, 0.1, side)
    scale.imshow(
        np.arange(100)[:, None], cmap=SHARES, vmin=0, vmax=100, extent=(0, 1, 0, 100), origin="lower", aspect="auto"
    )
    scale.set(xticks=[], yticks=range(0, 101, 20), ylabel="fraction of the true class (%)")
    scale.yaxis.tick_right()
    scale.yaxis.set_label_position("right")
    for spine in scale.spines.values():
        spine.set_visible(False)
    return figure


def row_shares(counts: Sequence[NDArray[Any]]) -> NDArray[np.float64]:
    """Divide rows by their sums; average over the runs that have images of the class; NaN if none has."""
    stack = np.asarray(counts, float)
    sums = stack.sum(axis=2, keepdims=True)
    shares = np.divide(stack, sums, out=np.zeros_like(stack), where=sums > 0)
    runs = (sums > 0).sum(axis=0)
    total = shares.sum(axis=0)
    return np.divide(total, runs, out=np.full_like(total, np.nan), where=runs > 0)
