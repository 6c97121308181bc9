"""Write and show what a network predicts for each pixel of test images: classes or numbers."""

from collections.abc import Sequence
from pathlib import Path

import numpy as np
from torch import Tensor

from headstart.data import ImageData
from headstart.figures.pixel_images import label_figure, label_palette, number_figure
from headstart.records.curves import CurveLogger
from headstart.records.pixel_files import (
    LABEL_FIGURE,
    NUMBER_FIGURE,
    write_label_images,
    write_number_images,
    write_pixel_figure,
)

TAG = "test_predictions"
SHOWN = 6  # images of the figure, evenly spaced in the test split


def write_pixels(data: ImageData, predicted: Tensor, directory: Path, loggers: Sequence[CurveLogger]) -> None:
    """Write predictions (N, S, S) of the first N test images, and a figure of some of them."""
    values, ids = predicted.numpy(), data.test.ids
    chosen = np.unique(np.linspace(0, len(values) - 1, min(SHOWN, len(values))).astype(np.int64))
    shown = np.stack([data.test.image(int(place)) for place in chosen]), data.test.targets[chosen], values[chosen]
    if data.targets.masks_of == "classes":
        write_label_images(directory, ids, values, label_palette(data.num_classes))
        stem, figure = LABEL_FIGURE, label_figure(*shown, data.class_names)
    else:
        write_number_images(directory, ids, values)
        stem, figure = NUMBER_FIGURE, number_figure(*shown)
    write_pixel_figure(directory, stem, figure)
    for logger in loggers:
        if logger.keeps_images:
            logger.log_images(TAG, np.asarray(figure))
