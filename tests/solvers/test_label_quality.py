"""Test which labels are judged likely wrong."""

import numpy as np
import pytest

from headstart.solvers.label_quality import agreed, confident_errors, likely_wrong


def test_the_confident_joint_by_hand() -> None:
    probabilities = np.array([[0.9, 0.1], [0.7, 0.3], [0.2, 0.8], [0.1, 0.9], [0.3, 0.7], [0.45, 0.55]])
    targets = np.array([0, 0, 0, 1, 1, 0])
    # Mean probability of the own label: class 0 (0.9 + 0.7 + 0.2 + 0.45) / 4 = 0.5625, class 1 (0.9 + 0.7) / 2 = 0.8.
    # Image 2 reaches 0.8 of class 1, so it counts; image 5 has 0.55 < 0.8, so it does not.
    assert confident_errors(probabilities, targets) == 1
    assert likely_wrong(probabilities, targets).tolist() == [2]


def test_a_label_that_is_the_most_probable_class_is_never_suggested() -> None:
    rng = np.random.default_rng(0)
    probabilities = rng.dirichlet(np.full(4, 0.5), 500)
    targets = rng.integers(0, 4, 500)
    found = likely_wrong(probabilities, targets)
    assert 0 < len(found) == confident_errors(probabilities, targets)
    assert (probabilities.argmax(axis=1)[found] != targets[found]).all()
    own = probabilities[found, targets[found]]
    assert (np.diff(own) >= 0).all(), "the least probable label first"


def test_probe_and_neighbours_are_averaged_as_logarithms() -> None:
    found = agreed(np.array([[0.8, 0.2]]), np.array([[0.5, 0.5]]))
    assert found[0] == pytest.approx([2 / 3, 1 / 3]), "sqrt(0.8) to sqrt(0.2)"
    found = agreed(np.array([[0.999, 0.001]]), np.array([[0.0, 1.0]]))
    assert found[0].argmax() == 0, "neighbours without a class do not rule it out"
