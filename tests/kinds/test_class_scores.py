"""Test scores against scikit-learn, torchmetrics and scipy, and by hand."""

import warnings
from dataclasses import dataclass
from typing import Any

import numpy as np
import pytest
import torch
from hypothesis import given, settings
from hypothesis import strategies as st
from numpy.typing import NDArray
from scipy.optimize import minimize_scalar
from sklearn.metrics import (
    accuracy_score,
    balanced_accuracy_score,
    brier_score_loss,
    confusion_matrix,
    f1_score,
    log_loss,
    recall_score,
)
from torchmetrics.functional.classification import multiclass_calibration_error

from headstart.errors import DataError
from headstart.kinds import class_scores as scores


@dataclass(frozen=True)
class Said:
    targets: NDArray[np.int64]
    probabilities: NDArray[np.float64]


def drawn(seed: int, images: int = 200, classes: int = 5, sharpness: float = 2.0, used: int | None = None) -> Said:
    """Return random probabilities, and targets drawn from a flatter version of them: overconfident predictions."""
    rng = np.random.default_rng(seed)
    logits = sharpness * rng.normal(size=(images, classes))
    probabilities = np.exp(logits) / np.exp(logits).sum(axis=1, keepdims=True)
    flat = np.exp(logits / 2)[:, :used]
    flat /= flat.sum(axis=1, keepdims=True)
    targets = np.array([rng.choice(flat.shape[1], p=row) for row in flat])
    return Said(targets, probabilities)


@pytest.mark.parametrize(("seed", "used"), [(0, None), (1, None), (2, 3)], ids=["all", "others", "missing classes"])
def test_agrees_with_the_libraries(seed: int, used: int | None) -> None:
    said = drawn(seed, used=used)
    found = scores.scores_on_test(said)
    predicted = said.probabilities.argmax(axis=1)
    classes = list(range(5))
    with warnings.catch_warnings():
        warnings.simplefilter("ignore")  # predictions of classes that have no image
        assert found.accuracy == pytest.approx(accuracy_score(said.targets, predicted))
        assert found.balanced_accuracy == pytest.approx(balanced_accuracy_score(said.targets, predicted))
        assert found.macro_f1 == pytest.approx(f1_score(said.targets, predicted, average="macro"))
        recall = recall_score(said.targets, predicted, labels=classes, average=None, zero_division=np.nan)
    np.testing.assert_allclose(found.recall, recall)
    assert found.unscaled.nll == pytest.approx(log_loss(said.targets, said.probabilities, labels=classes))
    brier = brier_score_loss(said.targets, said.probabilities, labels=classes, scale_by_half=False)
    assert found.unscaled.brier == pytest.approx(brier)
    ece = multiclass_calibration_error(torch.tensor(said.probabilities), torch.tensor(said.targets), 5, n_bins=15)
    assert found.unscaled.ece == pytest.approx(float(ece), abs=1e-6)
    counts = scores.confusion_counts(said.targets, predicted, 5)
    np.testing.assert_array_equal(counts, confusion_matrix(said.targets, predicted, labels=classes))
    assert found.temperature is None
    assert found.scaled is None


def test_by_hand() -> None:
    """Right at 0.8, wrong at 0.6, right at 0.6; the third class has no image."""
    probabilities = np.array([[0.8, 0.2, 0.0], [0.6, 0.4, 0.0], [0.3, 0.6, 0.1]])
    found = scores.scores_on_test(Said(np.array([0, 1, 1]), probabilities))
    assert found.accuracy == pytest.approx(2 / 3)
    np.testing.assert_allclose(found.recall, [1, 0.5, np.nan])
    assert found.balanced_accuracy == pytest.approx(0.75)
    assert found.macro_f1 == pytest.approx((2 / 3 + 2 / 3) / 2)
    assert found.unscaled.nll == pytest.approx(-np.log([0.8, 0.4, 0.6]).mean())
    assert found.unscaled.brier == pytest.approx((0.08 + 0.72 + 0.26) / 3)
    # bin (8/15, 9/15] holds the two at 0.6, half of them right; bin (11/15, 12/15] the one at 0.8
    assert found.unscaled.ece == pytest.approx((2 * 0.1 + 1 * 0.2) / 3)
    bins = scores.reliability_bins(np.array([0, 1, 1]), probabilities)
    assert bins.count.sum() == 3
    assert bins.count[8] == 2
    assert bins.accuracy[8] == 0.5
    assert np.isnan(bins.accuracy[0])


def test_an_impossible_target_costs_what_scikit_learn_says() -> None:
    probabilities = np.array([[1.0, 0.0], [0.5, 0.5]])
    targets = np.array([1, 0])
    assert scores.nll(targets, probabilities) == pytest.approx(log_loss(targets, probabilities, labels=[0, 1]))


@pytest.mark.parametrize("sharpness", [0.3, 1.0, 4.0])
def test_temperature_is_the_minimum(sharpness: float) -> None:
    said = drawn(3, images=300, sharpness=sharpness)

    def loss(inverse: float) -> float:
        return scores.nll(said.targets, scores.scaled(said.probabilities, 1 / inverse))

    best = minimize_scalar(loss, bounds=(0.05, 20), method="bounded", options={"xatol": 1e-9})
    assert scores.temperature(said.targets, said.probabilities) == pytest.approx(1 / best.x, rel=1e-5)


def test_temperature_recovers_what_was_done_to_the_logits() -> None:
    rng = np.random.default_rng(0)
    logits = rng.normal(size=(20000, 4))
    honest = np.exp(logits) / np.exp(logits).sum(axis=1, keepdims=True)
    targets = (honest.cumsum(axis=1) < rng.random((20000, 1))).sum(axis=1)
    sharp = scores.scaled(honest, 1 / 3)
    assert scores.temperature(targets, sharp) == pytest.approx(3, rel=0.05)
    before, after = scores.ece(targets, sharp), scores.ece(targets, scores.scaled(sharp, 3))
    assert after < 0.02 < before


def test_nothing_is_fitted_where_everything_is_right() -> None:
    assert scores.temperature(np.array([0, 1]), np.array([[0.6, 0.4], [0.3, 0.7]])) == 1


@pytest.mark.parametrize(
    ("targets", "limit"), [([1, 0], 1), ([0] * 400 + [1], 0)], ids=["all wrong", "all but a tie right"]
)
def test_temperature_stays_in_its_limits(targets: list[int], limit: int) -> None:
    probabilities = np.array([[0.6, 0.4], [0.3, 0.7]]) if limit else np.array([[0.6, 0.4]] * 400 + [[0.5001, 0.4999]])
    found = scores.temperature(np.array(targets), probabilities)
    assert found == pytest.approx(scores.TEMPERATURES[limit])


@settings(max_examples=60, deadline=None)
@given(st.integers(0, 10**6), st.integers(1, 60), st.integers(2, 7), st.floats(0.01, 30))
def test_temperature_scaling_keeps_accuracy_and_never_harms_validation(
    seed: int, images: int, classes: int, sharpness: float
) -> None:
    said = drawn(seed, images, classes, sharpness)
    fitted = scores.temperature(said.targets, said.probabilities)
    scaled = scores.scaled(said.probabilities, fitted)
    np.testing.assert_allclose(scaled.sum(axis=1), 1)
    np.testing.assert_array_equal(scaled.argmax(axis=1), said.probabilities.argmax(axis=1))
    assert scores.nll(said.targets, scaled) <= scores.nll(said.targets, said.probabilities) + 1e-9


def test_scaled_scores_use_the_temperature_of_validation() -> None:
    test, validation = drawn(4), drawn(5)
    found = scores.scores_on_test(test, validation)
    fitted = scores.temperature(validation.targets, validation.probabilities)
    assert found.temperature == fitted
    again = scores.scaled(test.probabilities, fitted)
    assert found.scaled == scores.calibration(test.targets, again)
    assert found.scaled is not None
    assert found.scaled.nll < found.unscaled.nll  # the images are drawn to be overconfident


def test_pooled_bins_are_those_of_all_images() -> None:
    a, b = drawn(6, 50), drawn(7, 70)
    pooled = scores.pooled([scores.reliability_bins(said.targets, said.probabilities) for said in (a, b)])
    both = scores.reliability_bins(
        np.concatenate([a.targets, b.targets]), np.concatenate([a.probabilities, b.probabilities])
    )
    np.testing.assert_array_equal(pooled.count, both.count)
    np.testing.assert_allclose(pooled.accuracy, both.accuracy)
    np.testing.assert_allclose(pooled.confidence, both.confidence)
    assert pooled.ece == pytest.approx(both.ece)


@pytest.mark.parametrize("number", range(16))
def test_a_bin_holds_its_upper_edge(number: int) -> None:
    """Guo et al. 2017 define bin m as ((m - 1) / M, m / M]."""
    confidence = float(np.linspace(0, 1, 16)[number])
    bins = scores.reliability_bins(np.array([0]), np.array([[confidence, 0.0]]))
    assert bins.count.argmax() == max(number - 1, 0)


def test_refuses_what_cannot_be_scored() -> None:
    empty: Any = np.empty((0, 3))
    with pytest.raises(DataError, match="no predictions"):
        scores.scores_on_test(Said(np.empty(0, np.int64), empty))
    with pytest.raises(ValueError, match="do not go with"):
        scores.nll(np.array([0, 1]), np.array([[0.5, 0.5]]))
