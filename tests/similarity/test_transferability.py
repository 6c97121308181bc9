"""Test LogME and H-score against brute force, their definitions and scikit-learn."""

import numpy as np
import pytest
from scipy.optimize import minimize
from sklearn.covariance import LedoitWolf

from headstart.similarity.transferability import h_score, ledoit_wolf, log_evidence


def problem(count: int, size: int, strength: float, seed: int = 0) -> tuple[np.ndarray, np.ndarray]:
    """Return features whose means depend on three classes, and their labels."""
    rng = np.random.default_rng(seed)
    labels = np.arange(count) % 3
    return strength * rng.normal(size=(3, size))[labels] + rng.normal(size=(count, size)), labels


def evidence(alpha: float, beta: float, x: np.ndarray, y: np.ndarray) -> float:
    """Return the log evidence as You et al. write it, equation 2, with the determinant and the inverse themselves."""
    count, size = x.shape
    a = alpha * np.eye(size) + beta * x.T @ x
    m = beta * np.linalg.solve(a, x.T @ y)
    return float(
        count / 2 * np.log(beta)
        + size / 2 * np.log(alpha)
        - count / 2 * np.log(2 * np.pi)
        - beta / 2 * np.square(x @ m - y).sum()
        - alpha / 2 * m @ m
        - np.linalg.slogdet(a)[1] / 2
    )


@pytest.mark.parametrize(("count", "size", "strength"), [(60, 5, 1.0), (30, 12, 0.3), (18, 30, 0.7)])
def test_log_evidence_is_the_maximum_found_by_brute_force(count: int, size: int, strength: float) -> None:
    x, labels = problem(count, size, strength)
    best = []
    for one in range(3):
        y = (labels == one).astype(float)
        found = [
            minimize(lambda p, y=y: -evidence(np.exp(p[0]), np.exp(p[1]), x, y), start, method="Nelder-Mead",
                     options={"xatol": 1e-8, "fatol": 1e-10, "maxiter": 4000}, bounds=[(-12, 12)] * 2)
            for start in ([0, 0], [3, 1], [-2, 2])
        ]  # fmt: skip
        best.append(-min(one.fun for one in found))
    assert log_evidence(x, labels) == pytest.approx(np.mean(best) / count, rel=1e-5)


def test_log_evidence_prefers_features_that_separate_the_classes() -> None:
    scores = [log_evidence(*problem(90, 10, strength)) for strength in (0, 0.3, 1, 3)]
    assert scores == sorted(scores)
    x, labels = problem(90, 10, 1)
    assert log_evidence(100 * x, labels) == pytest.approx(log_evidence(x, labels)), "the scale does not matter"


def test_h_score_is_its_definition() -> None:
    x, labels = problem(80, 6, 0.8)
    means = np.stack([x[labels == one].mean(axis=0) for one in labels])
    expected = np.trace(np.linalg.pinv(np.cov(x, rowvar=False)) @ np.cov(means, rowvar=False))
    assert h_score(x, labels) == pytest.approx(expected)
    assert 0 < expected < 2


def test_h_score_without_information_is_its_bound_with_few_images_unless_shrunk() -> None:
    rng = np.random.default_rng(0)
    x, labels = rng.normal(size=(30, 200)), np.arange(30) % 3
    assert h_score(x, labels) == pytest.approx(2), "the number of classes minus 1"
    assert h_score(x, labels, shrunk=True) < 0.7
    separated, _ = problem(30, 200, 2)
    assert h_score(separated, labels, shrunk=True) > 1.2


@pytest.mark.parametrize(("count", "size"), [(80, 6), (20, 50)])
def test_the_shrunk_h_score_uses_ledoit_and_wolf(count: int, size: int) -> None:
    x, labels = problem(count, size, 0.5)
    known = LedoitWolf().fit(x)
    centred = x - x.mean(axis=0)
    shrinkage, scale = ledoit_wolf(centred)
    assert shrinkage == pytest.approx(known.shrinkage_)
    assert scale == pytest.approx(np.trace(centred.T @ centred) / count / size)
    means = np.stack([centred[labels == one].mean(axis=0) for one in labels])
    expected = (1 - known.shrinkage_) * np.trace(np.linalg.inv(known.covariance_) @ means.T @ means) / count
    assert h_score(x, labels, shrunk=True) == pytest.approx(expected)


def test_constant_features_carry_nothing() -> None:
    x, labels = np.zeros((9, 4)), np.arange(9) % 3
    assert h_score(x, labels) == 0
    assert h_score(x, labels, shrunk=True) == 0
    assert np.isfinite(log_evidence(x, labels))


def test_labels_need_two_classes_and_one_number_for_each_image() -> None:
    x, labels = problem(12, 3, 1)
    with pytest.raises(ValueError, match="one class"):
        h_score(x, np.zeros(12))
    with pytest.raises(ValueError, match=r"expected \(12,\)"):
        log_evidence(x, labels[:5])
    assert h_score(x, 7 * labels + 2) == pytest.approx(h_score(x, labels)), "names of classes do not matter"
