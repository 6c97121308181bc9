"""Draw augmented training images in a grid."""

import time
from dataclasses import dataclass
from typing import TYPE_CHECKING

import numpy as np
import torch
from numpy.typing import NDArray

from headstart.analysis.explain.drawing import files_of, style
from headstart.augmentations import Augmentation
from headstart.data import ImageData
from headstart.inputs.signature import StoredArray
from headstart.seeds import generator

if TYPE_CHECKING:
    from matplotlib.figure import Figure

ROWS, COLUMNS = 6, 7  # images, and augmented versions of each
INCH = 1.0  # side of an image in the figure


@dataclass(frozen=True)
class DrawnViews:
    """Images before and after augmentation, uint8."""

    plain: NDArray[np.uint8]  # (rows, S, S, 3)
    views: NDArray[np.uint8]  # (rows, columns, S, S, 3)
    titles: list[str]  # of the columns
    images_a_second: float  # augmented by one process


def draw_views(data: ImageData, augmentation: Augmentation, seed: int) -> DrawnViews:
    """Return the first images of the first batch, and their augmented versions in the first epochs."""
    first = next(iter(data.train_batches()))
    positions = [position for _, position in first[:ROWS]]
    branches, size = data.train.branches, data.train.size
    plain = data.train.without_views().view_tensor([(0, position) for position in positions])
    data.train.source.load("images")
    columns, titles, start, made = [], [], time.perf_counter(), 0
    for epoch in range(max(1, COLUMNS // branches)):
        images = data.train.view_tensor([(epoch, position) for position in positions])
        made += len(images)
        views = images.permute(0, 2, 3, 1).numpy().reshape(branches, len(positions), size, size, -1)
        columns += list(views)
        names = [f", {number}" for number in range(1, branches + 1)] if branches > 1 else [""]
        titles += [f"epoch {epoch + 1}{name}" for name in names]
    rate = made / (time.perf_counter() - start)
    if augmentation.mixes:
        columns = [_mixed(column, augmentation, seed, number) for number, column in enumerate(columns)]
    shown = data.signature.for_display
    return DrawnViews(shown(plain.permute(0, 2, 3, 1).numpy()), shown(np.stack(columns, axis=1)), titles, rate)


def _mixed(images: StoredArray, augmentation: Augmentation, seed: int, column: int) -> StoredArray:
    """Return images (N, S, S, C) as floats, after all mixes that work on images."""
    x, rng = torch.from_numpy(images).permute(0, 3, 1, 2).float(), generator("mix", seed, column, 0)
    for mix in augmentation.mixes:
        mixing = mix.draw(rng, len(x), (x.shape[-2], x.shape[-1]))
        x = mixing.inputs(x) if mixing.stage is None else x
    return x.permute(0, 2, 3, 1).numpy()


def grid_files(drawn: DrawnViews, title: str) -> dict[str, bytes]:
    """Return the files of a figure with a row per image: the image, and then its augmented versions."""
    with style():
        return files_of(_draw(drawn, title), "augmentation")


def _draw(drawn: DrawnViews, title: str) -> "Figure":
    from matplotlib.figure import Figure

    rows, columns = drawn.views.shape[:2]
    figure = Figure(figsize=(INCH * (columns + 1.1), INCH * rows + 0.6), layout="constrained")
    figure.suptitle(title, fontsize=9)
    grid = figure.subplots(rows, columns + 1, squeeze=False)
    for row in range(rows):
        for column in range(columns + 1):
            axes = grid[row, column]
            axes.imshow(drawn.plain[row] if column == 0 else drawn.views[row, column - 1], interpolation="nearest")
            axes.set_axis_off()
            if row == 0:
                axes.set_title("original" if column == 0 else drawn.titles[column - 1], fontsize=8)
    return figure
