"""Score a classifier from its probabilities, before and after temperature scaling; loads no torch.

In all functions, targets are (N,) indices into C classes, and probabilities are (N, C) with rows that sum to 1.
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
"""Bins of confidence, as in Guo et al. 2017."""
FLOOR = float(np.finfo(np.float64).eps)
"""Smaller probabilities count as this one, as in scikit-learn's log_loss: an image costs at most 36 nats."""
TEMPERATURES = (0.05, 20.0)
"""The range of temperatures searched: a few images cannot distinguish more extreme ones."""
HARD = 0.01
"""An image is hard if its true class has a smaller probability: it costs more than 4.6 nats."""


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
        """Return ECE and NLL, as in "ECE 3.1 %, NLL 0.412 nats"."""
        return f"ECE {100 * self.ece:.1f} %, NLL {self.nll:.3f} nats"


@dataclass(frozen=True)
class TemperatureFit:
    """The effect of the temperature on the validation images on which it was fitted."""

    images: int
    before: Calibration
    after: Calibration
    hard: float
    """Fraction of images that are hard before scaling (see ``HARD``)."""
    hard_loss: float
    """Fraction of the negative log-likelihood that comes from hard images; NaN if the total is 0."""


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
        """Return the scores besides accuracy, by name; with validation predictions also the scores after scaling."""
        numbers = {"balanced_accuracy": self.balanced_accuracy, "macro_f1": self.macro_f1, **vars(self.unscaled)}
        if self.scaled is not None and self.temperature is not None:
            numbers["temperature"] = self.temperature
            numbers |= {f"scaled_{name}": value for name, value in vars(self.scaled).items()}
        return numbers

    def measures(self) -> Iterator[tuple[str, str]]:
        """Yield the name and the text of each score in a report on one run."""
        yield "balanced accuracy (%)", f"{100 * self.balanced_accuracy:.1f}"
        yield "macro F1 (%)", f"{100 * self.macro_f1:.1f}"
        yield "calibration", self.unscaled.text
        if self.scaled is not None and self.temperature is not None:
            yield "after temperature scaling", f"{self.scaled.text}; T = {self.temperature:.2f}"


@dataclass(frozen=True)
class ReliabilityBins:
    """Images grouped by the probability of the predicted class, in B bins (a, b] of equal width from 0 to 1."""

    count: NDArray[np.int64]
    """Images in each bin, (B,)."""
    confidence: Floats
    """Mean probability of the predicted class, (B,); NaN in an empty bin."""
    accuracy: Floats
    """Fraction of right predictions, (B,); NaN in an empty bin."""

    @property
    def edges(self) -> Floats:
        """Return the edges of the bins, (B + 1,)."""
        return _edges(len(self.count))

    @property
    def ece(self) -> float:
        """Return the mean over images of ``|accuracy - confidence|`` of their bins (Guo et al. 2017, equation 5)."""
        filled = self.count > 0
        gap = np.abs(self.accuracy[filled] - self.confidence[filled])
        return float(self.count[filled] @ gap / self.count.sum())


def scores_on_test(test: HasPredictions, validation: HasPredictions | None = None) -> Scores:
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


def calibration(targets: Integers, probabilities: Floats) -> Calibration:
    """Return negative log-likelihood, Brier score and expected calibration error."""
    return Calibration(nll(targets, probabilities), brier(targets, probabilities), ece(targets, probabilities))


def nll(targets: Integers, probabilities: Floats) -> float:
    """Return the mean negative log-likelihood of the true classes, in nats."""
    # scikit-learn's log_loss makes a table (N, C) of targets: 1.6 s for 10,000 images of 1,000 classes
    _check(targets, probabilities)
    return float(-np.mean(np.log(np.maximum(_of_target(targets, probabilities), FLOOR))))


def brier(targets: Integers, probabilities: Floats) -> float:
    """Return the sum over classes of (p - [class is true])^2, averaged over images (Brier 1950)."""
    # scikit-learn before 1.7 supports only two classes
    _check(targets, probabilities)
    squares = np.vdot(probabilities, probabilities) / len(targets)
    return float(squares - 2 * np.mean(_of_target(targets, probabilities)) + 1)


def ece(targets: Integers, probabilities: Floats, bins: int = BINS) -> float:
    """Return the expected calibration error, a fraction of 1 (Guo et al. 2017, equation 5)."""
    return reliability_bins(targets, probabilities, bins).ece


def reliability_bins(targets: Integers, probabilities: Floats, bins: int = BINS) -> ReliabilityBins:
    """Return accuracy and mean confidence in bins of confidence (Guo et al. 2017, equation 3)."""
    # scikit-learn's calibration_curve supports only two classes and returns no counts
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
    """Return the bins over the images of several runs; all runs have the same number of bins."""
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

    The loss, mean log sum exp(b (z_c - z_target)) with b = 1/T, is convex in b. Newton's method finds its minimum;
    where a step leaves the interval that holds the minimum, bisection replaces it. T stays in ``TEMPERATURES``. T is 1
    if every image is predicted right, as the likelihood then grows with b without end.
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
    """Return the effect of a temperature on the images on which it was fitted."""
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
        raise DataError("There are no predictions to score; expected one row per image.")
