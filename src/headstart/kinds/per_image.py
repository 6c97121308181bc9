"""Compute metrics that are no means over images, and a score for each image.

A score is the metric plus the influence of the image on the metric, so the mean of the scores is the metric.
Differences and intervals over images then work as for accuracy (Efron & Tibshirani 1993, chapter 11: the jackknife).
"""

from __future__ import annotations

from typing import Any

import numpy as np
from numpy.typing import NDArray

Floats = NDArray[np.float64]


def r_squared(targets: NDArray[Any], values: NDArray[Any]) -> Floats:
    """Return the explained share of the variance of each target, (K,), from targets and predictions (N, K).

    It is 1 - SS_residual / SS_total, and NaN for a target that does not vary.
    """
    return r_squared_each(targets, values).mean(axis=0)


def mean_r_squared(targets: NDArray[Any], values: NDArray[Any]) -> float:
    """Return R², averaged over the targets that vary, from targets and predictions (N, K); NaN where none does."""
    each = r_squared(targets, values)
    return float(each[~np.isnan(each)].mean()) if not np.isnan(each).all() else float("nan")


def r_squared_each(targets: NDArray[Any], values: NDArray[Any]) -> Floats:
    """Return ``1 - error^2 / variance``, (N, K), from targets and predictions (N, K); its mean over N is R².

    The variance is that of these targets, which are held fixed; NaN for a target that does not vary.
    """
    targets, values = np.asarray(targets, dtype=np.float64), np.asarray(values, dtype=np.float64)
    variance = targets.var(axis=0)
    variance[(targets == targets[:1]).all(axis=0)] = np.nan  # rounding may make it slightly larger than 0
    return 1 - (targets - values) ** 2 / variance


def average_precisions(labels: NDArray[Any], scores: NDArray[Any]) -> Floats:
    """Return the average precision of each label, (K,), from labels (0 or 1) and scores (N, K).

    It is the sum over thresholds of precision times the gain of recall, and NaN for a label without a positive.
    """
    return np.array([_precision(y, s) for y, s in zip(np.asarray(labels).T, np.asarray(scores).T, strict=True)])


def mean_average_precision(labels: NDArray[Any], scores: NDArray[Any]) -> float:
    """Return the average precision, averaged over the labels that occur, from labels and scores (N, K); NaN if none."""
    each = average_precisions(labels, scores)
    return float(each[~np.isnan(each)].mean()) if not np.isnan(each).all() else float("nan")


def average_precision_each(labels: NDArray[Any], scores: NDArray[Any]) -> Floats:
    """Return the jackknife pseudo-values (N, K) of the average precision (AP) of each label; their mean over N is AP.

    The pseudo-value of image i is ``N AP - (N - 1) AP_i``, where AP_i is the AP without image i. Pseudo-values are
    shifted so that their mean is exactly AP. A label's only positive has the pseudo-value AP, as AP does not exist
    without it. NaN for a label without a positive. It takes O(N log N) per label.
    """
    pairs = zip(np.asarray(labels).T, np.asarray(scores).T, strict=True)
    return np.stack([_pseudo_values(y.astype(np.float64), s) for y, s in pairs], axis=1)


def _groups(labels: Floats, scores: NDArray[Any]) -> tuple[NDArray[np.int64], Floats, Floats]:
    """Group images with equal scores, highest first; return the group of each image (N,), and each group's counts.

    The counts are the number of images and the number of positives.
    """
    _, place = np.unique(-np.asarray(scores, dtype=np.float64), return_inverse=True)
    count = int(place.max()) + 1
    sizes = np.bincount(place, minlength=count).astype(np.float64)
    positives = np.bincount(place, labels, count).astype(np.float64)
    return place.astype(np.int64), sizes, positives


def _precision(labels: NDArray[Any], scores: NDArray[Any]) -> float:
    labels = labels.astype(np.float64)
    if not labels.any():
        return float("nan")
    _, sizes, positives = _groups(labels, scores)
    return float((positives * positives.cumsum() / sizes.cumsum()).sum() / positives.sum())


def _pseudo_values(labels: Floats, scores: NDArray[Any]) -> Floats:
    """Return the pseudo-values (N,) of one label."""
    count, whole = len(labels), _precision(labels, scores)
    if not labels.any() or count == 1:
        return np.full(count, whole)
    place, sizes, positives = _groups(labels, scores)
    total, seen, found = positives.sum(), sizes.cumsum(), positives.cumsum()

    def after(terms: Floats) -> Floats:
        """Return the sum of the terms of all later groups, for each group."""
        return terms[::-1].cumsum()[::-1] - terms

    terms = positives * found / seen
    before = terms.cumsum() - terms
    fewer = np.maximum(seen - 1, 1)  # not 0 for a first group of one image, whose terms are 0
    without_negative = positives * found / fewer
    of_negative = (before + without_negative + after(without_negative)) / total
    own = (positives - 1) * (found - 1) / fewer
    of_positive = (before + own + after(positives * (found - 1) / fewer)) / max(total - 1, 1)
    if total == 1:
        of_positive = np.full_like(of_positive, whole)
    left_out = np.where(labels > 0, of_positive[place], of_negative[place])
    pseudo = count * whole - (count - 1) * left_out
    return pseudo - pseudo.mean() + whole
