"""Write and show the label images that a network predicts for test images."""

from collections.abc import Sequence
from pathlib import Path

import numpy as np
from torch import Tensor

from headstart.data import ImageData
from headstart.figures.label_images import label_figure, label_palette
from headstart.records.curves import CurveLogger
from headstart.records.label_files import write_label_figure, write_label_images

TAG = "test_predictions"
SHOWN = 6  # images of the figure, evenly spaced in the test split


def write_labels(data: ImageData, predicted: Tensor, directory: Path, loggers: Sequence[CurveLogger]) -> None:
    """Write predicted label images (N, S, S) of the first N test images, and a figure of some of them."""
    labels = predicted.numpy()
    write_label_images(directory, data.test.ids, labels, label_palette(data.num_classes))
    chosen = np.unique(np.linspace(0, len(labels) - 1, min(SHOWN, len(labels))).astype(np.int64))
    images = np.stack([data.test.image(int(place)) for place in chosen])
    figure = label_figure(images, data.test.targets[chosen], labels[chosen], data.class_names)
    write_label_figure(directory, figure)
    for logger in loggers:
        if logger.keeps_images:
            logger.log_images(TAG, np.asarray(figure))
