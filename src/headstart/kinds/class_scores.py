"""Scores of a classifier from its probabilities, before and after temperature scaling; no torch.

Everywhere targets are (N,) indices into C classes and probabilities are (N, C), with rows that sum to 1.
"""

from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from typing import Any, Protocol

import numpy as np
from numpy.typing import NDArray

from headstart.errors import DataError

Floats = NDArray[np.float64]
Integers = NDArray[np.integer[Any]]

BINS = 15
"""Guo et al. 2017."""
FLOOR = float(np.finfo(np.float64).eps)
"""A probability below counts as this much, as in scikit-learn's log_loss: one image costs at most 36 nats."""
TEMPERATURES = (0.05, 20.0)
"""The range in which the temperature is searched: a few images cannot tell more extreme ones apart."""
HARD = 0.01
"""An image that gives its true class a smaller probability is hard: it costs more than 4.6 nats."""


class HasPredictions(Protocol):
    """Predictions for N images."""

    @property
    def targets(self) -> Integers:
        """Return the indices of the true classes, (N,)."""

    @property
    def probabilities(self) -> Floats:
        """Return the probabilities of the classes, (N, C)."""


@dataclass(frozen=True)
class Calibration:
    """Three measures of how well probabilities agree with frequencies; zero is best for each."""

    nll: float
    """Mean negative log-likelihood, in nats."""
    brier: float
    """Squared error summed over classes, mean over images: 0 to 2 (Brier 1950)."""
    ece: float
    """Expected calibration error, a fraction of 1 (Guo et al. 2017, equation 5)."""

    @property
    def text(self) -> str:
        """Return two of them, as in "ECE 3.1 %, NLL 0.412 nats"."""
        return f"ECE {100 * self.ece:.1f} %, NLL {self.nll:.3f} nats"


@dataclass(frozen=True)
class TemperatureFit:
    """The effect of the temperature on the N validation images on which it was fitted."""

    images: int
    before: Calibration
    after: Calibration
    hard: float
    """Share of the images that gave their true class less than ``HARD``, before scaling."""
    hard_loss: float
    """Share of the negative log-likelihood that these images carry; NaN where there is none."""


@dataclass(frozen=True)
class Scores:
    """Scores on test; accuracies, F1 and recall are fractions of 1."""

    accuracy: float
    balanced_accuracy: float
    """Mean recall over the classes that have images."""
    macro_f1: float
    """Mean F1 over the classes that have images or were predicted."""
    recall: Floats
    """Recall by class, (C,); NaN for a class without images."""
    unscaled: Calibration
    temperature: float | None = None
    """Fitted on validation; None without validation predictions."""
    scaled: Calibration | None = None
    """The same probabilities after temperature scaling; None without validation predictions."""
    fit: TemperatureFit | None = None
    """None without validation predictions."""

    @property
    def numbers(self) -> dict[str, float]:
        """Return the scores beyond accuracy by name, with validation predictions also those after scaling."""
        numbers = {"balanced_accuracy": self.balanced_accuracy, "macro_f1": self.macro_f1, **vars(self.unscaled)}
        if self.scaled is not None and self.temperature is not None:
            numbers["temperature"] = self.temperature
            numbers |= {f"scaled_{name}": value for name, value in vars(self.scaled).items()}
        return numbers

    def measures(self) -> Iterator[tuple[str, str]]:
        """Yield names and texts of what a report on one run shows."""
        yield "balanced accuracy (%)", f"{100 * self.balanced_accuracy:.1f}"
        yield "macro F1 (%)", f"{100 * self.macro_f1:.1f}"
        yield "calibration", self.unscaled.text
        if self.scaled is not None and self.temperature is not None:
            yield "after temperature scaling", f"{self.scaled.text}; T = {self.temperature:.2f}"


@dataclass(frozen=True)
class ReliabilityBins:
    """Images by the probability of the predicted class, in equal bins (a, b] between 0 and 1."""

    count: NDArray[np.int64]
    """Images in each bin."""
    confidence: Floats
    """Mean probability of the predicted class; NaN in an empty bin."""
    accuracy: Floats
    """Share of right predictions; NaN in an empty bin."""

    @property
    def edges(self) -> Floats:
        """Return the limits of the bins, one more than bins."""
        return _edges(len(self.count))

    @property
    def ece(self) -> float:
        """Return the mean distance of accuracy from confidence over images (Guo et al. 2017, equation 5)."""
        filled = self.count > 0
        gap = np.abs(self.accuracy[filled] - self.confidence[filled])
        return float(self.count[filled] @ gap / self.count.sum())


def test_scores(test: HasPredictions, validation: HasPredictions | None = None) -> Scores:  # noqa: PT028 (no test of pytest)
    """Return all scores on test; the temperature is fitted on validation only.

    Raises DataError when there is no image to score.
    """
    from sklearn.metrics import precision_recall_fscore_support

    targets, probabilities = test.targets, test.probabilities
    _check(targets, probabilities)
    predicted, classes = np.argmax(probabilities, axis=1), np.arange(probabilities.shape[1])
    _, recall, f1, _ = precision_recall_fscore_support(targets, predicted, labels=classes, zero_division=np.nan)
    fitted = None if validation is None else temperature(validation.targets, validation.probabilities)
    return Scores(
        accuracy=float(np.mean(predicted == targets)),
        balanced_accuracy=float(np.nanmean(recall)),
        macro_f1=float(np.nanmean(f1)),
        recall=recall,
        unscaled=calibration(targets, probabilities),
        temperature=fitted,
        scaled=None if fitted is None else calibration(targets, scaled(probabilities, fitted)),
        fit=None if validation is None or fitted is None else temperature_fit(validation, fitted),
    )


test_scores.__test__ = False  # type: ignore[attr-defined]  # nor where pytest finds it imported


def calibration(targets: Integers, probabilities: Floats) -> Calibration:
    """Return negative log-likelihood, Brier score and expected calibration error."""
    return Calibration(nll(targets, probabilities), brier(targets, probabilities), ece(targets, probabilities))


def nll(targets: Integers, probabilities: Floats) -> float:
    """Return the mean negative log-likelihood of the true classes, in nats."""
    # log_loss of scikit-learn gives the same in a table (N, C) of targets: 1.6 s for 10,000 images of 1,000 classes
    _check(targets, probabilities)
    return float(-np.mean(np.log(np.maximum(_of_target(targets, probabilities), FLOOR))))


def brier(targets: Integers, probabilities: Floats) -> float:
    """Return the sum over classes of (p - [class is true])^2, averaged over images (Brier 1950)."""
    # scikit-learn below 1.7 knows two classes only
    _check(targets, probabilities)
    squares = np.vdot(probabilities, probabilities) / len(targets)
    return float(squares - 2 * np.mean(_of_target(targets, probabilities)) + 1)


def ece(targets: Integers, probabilities: Floats, bins: int = BINS) -> float:
    """Return the expected calibration error, a fraction of 1 (Guo et al. 2017, equation 5)."""
    return reliability_bins(targets, probabilities, bins).ece


def reliability_bins(targets: Integers, probabilities: Floats, bins: int = BINS) -> ReliabilityBins:
    """Return accuracy and mean confidence in bins of confidence (Guo et al. 2017, equation 3)."""
    # calibration_curve of scikit-learn has two classes, and no counts
    _check(targets, probabilities)
    predicted = np.argmax(probabilities, axis=1)
    top = _of_target(predicted, probabilities)
    number = np.clip(np.searchsorted(_edges(bins), top, side="left") - 1, 0, bins - 1)
    count = np.bincount(number, minlength=bins)
    return ReliabilityBins(
        count,
        confidence=_ratio(np.bincount(number, top, minlength=bins), count),
        accuracy=_ratio(np.bincount(number[predicted == targets], minlength=bins), count),
    )


def pooled(bins: Sequence[ReliabilityBins]) -> ReliabilityBins:
    """Return the bins of the images of several runs together; each run has as many bins."""
    count = np.sum([one.count for one in bins], axis=0)
    confidence = np.sum([one.count * np.nan_to_num(one.confidence) for one in bins], axis=0)
    right = np.sum([one.count * np.nan_to_num(one.accuracy) for one in bins], axis=0)
    return ReliabilityBins(count, _ratio(confidence, count), _ratio(right, count))


def confusion_counts(targets: Integers, predicted: Integers, classes: int) -> NDArray[np.int64]:
    """Return the number of images by true class (row) and predicted class (column), (C, C)."""
    from sklearn.metrics import confusion_matrix

    return confusion_matrix(targets, predicted, labels=np.arange(classes))


def temperature(targets: Integers, probabilities: Floats) -> float:
    """Return the T for which softmax(log p / T) has the least negative log-likelihood (Guo et al. 2017, section 4.2).

    In b = 1/T the loss is mean log sum exp(b (z_c - z_target)), which is convex: Newton steps, halved if they leave
    the interval that holds the minimum. T stays in TEMPERATURES. If every image is predicted right, the likelihood only
    grows with b, so nothing can be fitted: T is 1.
    """
    _check(targets, probabilities)
    logits = np.log(np.maximum(probabilities.T, FLOOR, order="C"))  # (C, N): sums over classes run along memory
    logits -= logits[targets, np.arange(len(targets))]
    highest = logits.max(axis=0)
    if not highest.any():
        return 1.0
    logits -= highest
    offset = float(np.mean(highest))
    low, high = 1 / TEMPERATURES[1], 1 / TEMPERATURES[0]
    inverse = 1.0
    for _ in range(100):
        slope, curvature = _derivatives(logits, inverse)
        slope += offset
        if abs(slope) < 1e-12:
            break
        low, high = (low, inverse) if slope > 0 else (inverse, high)
        step = inverse - slope / curvature if curvature > 0 else np.inf
        before, inverse = inverse, step if low < step < high else (low + high) / 2
        if abs(inverse - before) < 1e-12 * inverse:
            break
    return 1 / inverse


def temperature_fit(validation: HasPredictions, fitted: float) -> TemperatureFit:
    """Return what a temperature does to the images on which it was fitted."""
    targets, probabilities = validation.targets, validation.probabilities
    losses = -np.log(np.maximum(_of_target(targets, probabilities), FLOOR))
    hard = losses > -np.log(HARD)
    return TemperatureFit(
        len(targets),
        before=calibration(targets, probabilities),
        after=calibration(targets, scaled(probabilities, fitted)),
        hard=float(hard.mean()),
        hard_loss=float(losses[hard].sum() / losses.sum()) if losses.any() else float("nan"),
    )


def scaled(probabilities: Floats, temperature: float) -> Floats:
    """Return softmax(log p / T), which keeps the order of classes and so the accuracy."""
    logits = np.log(np.maximum(probabilities.T, FLOOR, order="C"))
    logits -= logits.max(axis=0)
    logits /= temperature
    np.exp(logits, out=logits)
    logits /= logits.sum(axis=0)
    return np.ascontiguousarray(logits.T)


def _derivatives(logits: Floats, inverse: float) -> tuple[float, float]:
    """Return the mean over images of the mean and the variance of logits (C, N) under softmax(inverse * logits)."""
    weights = np.exp(inverse * logits)
    weights /= weights.sum(axis=0)
    weighted = weights * logits
    mean = weighted.sum(axis=0)
    square = np.vdot(weighted, logits) / len(mean)
    return float(mean.mean()), float(square - np.vdot(mean, mean) / len(mean))


def _ratio(part: NDArray[Any], whole: NDArray[Any]) -> Floats:
    """Return part over whole, NaN where the whole is 0."""
    return np.divide(part, whole, out=np.full(len(whole), np.nan), where=whole > 0)


def _of_target(targets: Integers, probabilities: Floats) -> Floats:
    return probabilities[np.arange(len(targets)), targets]


def _edges(bins: int) -> Floats:
    return np.linspace(0, 1, bins + 1)


def _check(targets: Integers, probabilities: Floats) -> None:
    if probabilities.ndim != 2 or len(targets) != len(probabilities):
        raise ValueError(f"{len(targets)} targets do not go with probabilities of shape {probabilities.shape}")
    if not len(targets):
        raise DataError("There are no predictions to score; expected one row an image.")
