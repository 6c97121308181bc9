"""Test NCE and LEEP against computations by hand."""

import numpy as np
import pytest

from headstart.similarity.source_labels import leep, negative_conditional_entropy


def test_nce_by_hand() -> None:
    # Source class 5: labels 0, 0, 1 (entropy of 2/3 and 1/3); source class 9: label 1 only.
    expected = 3 / 4 * (2 / 3 * np.log(2 / 3) + 1 / 3 * np.log(1 / 3))
    assert negative_conditional_entropy([5, 5, 5, 9], [0, 0, 1, 1]) == pytest.approx(expected)
    assert negative_conditional_entropy([3, 3, 8, 8], [0, 0, 1, 1]) == 0
    assert negative_conditional_entropy([3, 8, 3, 8], [0, 0, 1, 1]) == pytest.approx(-np.log(2))


def test_leep_by_hand() -> None:
    # P(z): 0.6, 0.4. P(y=0 | z): (0.9 + 0.5) / 3 / 0.6 = 7/9 and (0.1 + 0.5) / 3 / 0.4 = 1/2.
    soft = np.array([[0.9, 0.1], [0.5, 0.5], [0.4, 0.6]])
    likelihoods = [0.9 * 7 / 9 + 0.1 / 2, 0.5 * 7 / 9 + 0.5 / 2, 0.4 * 2 / 9 + 0.6 / 2]
    assert leep(soft, [0, 0, 1]) == pytest.approx(np.mean(np.log(likelihoods)))


def test_leep_of_certain_answers_is_nce() -> None:
    answers, labels = np.array([2, 0, 0, 2, 1, 1]), np.array([0, 1, 0, 0, 1, 1])
    assert leep(np.eye(4)[answers], labels) == pytest.approx(negative_conditional_entropy(answers, labels))


@pytest.mark.parametrize("wrong", [[[0.5, 0.4], [0.5, 0.5]], [[1.5, -0.5], [0.5, 0.5]], [0.5, 0.5]])
def test_leep_needs_probabilities(wrong: list[float]) -> None:
    with pytest.raises(ValueError, match="probabilities"):
        leep(wrong, [0, 1])
