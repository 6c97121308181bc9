"""Compute intersection over union (IoU) from counts of pixels, for all images and for each image.

The tally (3 C,) of an image has three counts for each of C classes: first the pixels whose predicted and true class it
is, for all classes, then those whose predicted class it is, then those whose true class it is. Pixels without a true
class do not count.
"""

from collections.abc import Iterator
from typing import Any

import numpy as np
from numpy.typing import NDArray

from headstart.errors import DataError

Floats = NDArray[np.float64]
AT_ONCE = 16  # images whose targets are read together


def tallies_of(predicted: NDArray[Any], targets: Any, classes: int) -> NDArray[np.int64]:
    """Return the tallies (N, 3 C) of predicted label images (N, H, W).

    ``targets`` gives true label images by index, and is read in chunks; -1 in them is no class.
    """
    return np.concatenate(list(_tallies(predicted, targets, classes))).reshape(-1, 3 * classes)


def _tallies(predicted: NDArray[Any], targets: Any, classes: int) -> Iterator[NDArray[np.int64]]:
    for start in range(0, len(predicted), AT_ONCE):
        places = np.arange(start, min(start + AT_ONCE, len(predicted)))
        for found, true in zip(predicted[places], targets[places], strict=True):
            found, true = found[true >= 0].astype(np.int64), true[true >= 0]
            counts = [np.bincount(labels, minlength=classes) for labels in (true[found == true], found, true)]
            yield np.concatenate(counts)


def intersections_and_unions(tallies: NDArray[Any]) -> tuple[Floats, Floats]:
    """Return intersections and unions, (N, C) each, from tallies (N, 3 C)."""
    both, found, true = np.split(np.asarray(tallies, dtype=np.float64), 3, axis=1)
    return both, found + true - both


def class_ious(tallies: NDArray[Any]) -> Floats:
    """Return the IoU of each class over all images, (C,); NaN for a class that is neither predicted nor true."""
    both, union = (pixels.sum(axis=0) for pixels in intersections_and_unions(tallies))
    return np.divide(both, union, out=np.full(len(union), np.nan), where=union > 0)


def mean_iou(tallies: NDArray[Any]) -> float:
    """Return the mean IoU: the IoU of each class over the pixels of all images, averaged over classes.

    It is scikit-learn's ``jaccard_score`` with macro average. Classes that are neither predicted nor true are left out.
    NaN if no pixel has a class.
    """
    ious = class_ious(tallies)
    return float(ious[~np.isnan(ious)].mean()) if not np.isnan(ious).all() else float("nan")


def iou_by_image(tallies: NDArray[Any]) -> Floats:
    """Return the mean IoU plus the influence of each image on it, (N,); their mean is exactly the mean IoU.

    The IoU of a class is a ratio of means over images. The influence is that of the infinitesimal jackknife,
    ``(I_i - IoU U_i) / mean(U)``, with intersection I_i and union U_i of image i (Efron 1982, "The Jackknife, the
    Bootstrap and Other Resampling Plans", chapter 6). Raises DataError if no pixel has a class.
    """
    both, union = intersections_and_unions(tallies)
    ious = class_ious(tallies)
    known = ~np.isnan(ious)
    if not known.any():
        raise DataError("no pixel of the images has a class")
    both, union, ious = both[:, known], union[:, known], ious[known]
    return (ious + (both - ious * union) / union.mean(axis=0)).mean(axis=1)


def image_ious(tallies: NDArray[Any]) -> Floats:
    """Return the mean IoU within each image, (N,), over the classes that are true or predicted there; else NaN."""
    both, union = intersections_and_unions(tallies)
    ious = np.divide(both, union, out=np.full(union.shape, np.nan), where=union > 0)
    counts = (~np.isnan(ious)).sum(axis=1)
    return np.divide(np.nansum(ious, axis=1), counts, out=np.full(len(ious), np.nan), where=counts > 0)
