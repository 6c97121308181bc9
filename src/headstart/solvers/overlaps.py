"""Intersection over union from counts of pixels, for all images and by image.

A tally (3 C,) of an image has, for each of C classes, the pixels that have the class in prediction and truth, then
those that are predicted as the class, then those that truly have it. Pixels without a class count nowhere.
"""

from collections.abc import Iterator
from typing import Any

import numpy as np
from numpy.typing import NDArray

from headstart.errors import DataError

Floats = NDArray[np.float64]
AT_ONCE = 16  # images


def tallies_of(predicted: NDArray[Any], targets: Any, classes: int) -> NDArray[np.int64]:
    """Return the tallies (N, 3 C) of label images (N, H, W); targets are read some at a time, -1 is no class."""
    return np.concatenate(list(_tallies(predicted, targets, classes))).reshape(-1, 3 * classes)


def _tallies(predicted: NDArray[Any], targets: Any, classes: int) -> Iterator[NDArray[np.int64]]:
    for start in range(0, len(predicted), AT_ONCE):
        places = np.arange(start, min(start + AT_ONCE, len(predicted)))
        for found, true in zip(predicted[places], targets[places], strict=True):
            found, true = found[true >= 0].astype(np.int64), true[true >= 0]
            counts = [np.bincount(of, minlength=classes) for of in (true[found == true], found, true)]
            yield np.concatenate(counts)


def parts_of(tallies: NDArray[Any]) -> tuple[Floats, Floats]:
    """Return intersections and unions, (N, C) each, from tallies (N, 3 C)."""
    both, found, true = np.split(np.asarray(tallies, dtype=np.float64), 3, axis=1)
    return both, found + true - both


def class_ious(tallies: NDArray[Any]) -> Floats:
    """Return the IoU of each class over all images, (C,); NaN for a class that is neither predicted nor true."""
    both, union = (of.sum(axis=0) for of in parts_of(tallies))
    return np.divide(both, union, out=np.full(len(union), np.nan), where=union > 0)


def mean_iou(tallies: NDArray[Any]) -> float:
    """Return the mean over classes of the IoU over all images, as scikit-learn's macro ``jaccard_score`` of all pixels.

    Classes that are neither predicted nor true are left out. NaN where there is no pixel with a class.
    """
    ious = class_ious(tallies)
    return float(ious[~np.isnan(ious)].mean()) if not np.isnan(ious).all() else float("nan")


def iou_by_image(tallies: NDArray[Any]) -> Floats:
    """Return the mean IoU plus the influence of each image, (N,): their mean is exactly the mean IoU.

    The IoU of a class is a ratio of means over images; the influence is that of the infinitesimal jackknife,
    ``(I_i - IoU U_i) / mean(U)`` (Efron 1982, "The Jackknife, the Bootstrap and Other Resampling Plans", chapter 6).
    """
    both, union = parts_of(tallies)
    ious = class_ious(tallies)
    known = ~np.isnan(ious)
    if not known.any():
        raise DataError("no pixel of the images has a class")
    both, union, ious = both[:, known], union[:, known], ious[known]
    return (ious + (both - ious * union) / union.mean(axis=0)).mean(axis=1)


def image_ious(tallies: NDArray[Any]) -> Floats:
    """Return the mean IoU of each image alone, (N,), over the classes that it has or that are predicted there."""
    both, union = parts_of(tallies)
    ious = np.divide(both, union, out=np.full(union.shape, np.nan), where=union > 0)
    counts = (~np.isnan(ious)).sum(axis=1)
    return np.divide(np.nansum(ious, axis=1), counts, out=np.full(len(ious), np.nan), where=counts > 0)
