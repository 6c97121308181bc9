"""Test the correction for choosing the best of several candidates."""

import numpy as np
import pytest

from headstart.statistics.best_of import best_of


def test_equal_candidates_are_as_good_as_each_of_them() -> None:
    rng = np.random.default_rng(0)
    answers = [rng.random((20, 100)) < 0.7 for _ in range(40)]
    best = np.mean([one.mean(axis=1).max() for one in answers])
    corrected = np.mean([best_of(one, seed=number).mean for number, one in enumerate(answers)])
    assert best > 0.76, "the choice looks better than it is"
    assert corrected == pytest.approx(0.7, abs=0.015)


def test_the_interval_of_one_candidate_is_that_of_a_share() -> None:
    answers = (np.arange(400) % 5 > 0)[None]
    found = best_of(answers, level=0.9)
    assert found.mean == pytest.approx(0.8, abs=0.005)
    half = 1.645 * np.sqrt(0.8 * 0.2 / 400)
    assert (found.high - found.low) / 2 == pytest.approx(half, rel=0.12)
    assert best_of(answers) == best_of(answers)


def test_a_much_better_candidate_needs_no_correction() -> None:
    rng = np.random.default_rng(1)
    answers = np.stack([rng.random(500) < share for share in (0.3, 0.9, 0.4)])
    assert best_of(answers).mean == pytest.approx(answers[1].mean(), abs=0.003)


def test_too_few_images() -> None:
    with pytest.raises(ValueError, match="at least 5"):
        best_of(np.ones((2, 4)))
