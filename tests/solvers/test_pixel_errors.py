"""Test R² over pixels against scikit-learn, and the parts of images against leaving them out."""

import numpy as np
import pytest
from sklearn.metrics import mean_absolute_error, r2_score

from headstart.solvers.pixel_errors import error_tallies, r_squared_by_image, r_squared_of

RNG = np.random.default_rng(0)
TARGETS = RNG.normal(50, 7, (40, 6, 5)).astype(np.float32)
TARGETS[RNG.random(TARGETS.shape) < 0.2] = np.nan
VALUES = (np.nan_to_num(TARGETS) + RNG.normal(0, 3, TARGETS.shape)).astype(np.float32)
KNOWN = ~np.isnan(TARGETS)


def test_sums_give_the_scores_of_all_pixels() -> None:
    tallies = error_tallies(VALUES, TARGETS)
    assert r_squared_of(tallies) == pytest.approx(r2_score(TARGETS[KNOWN], VALUES[KNOWN]), abs=1e-7)
    pixels, _, _, _, absolute = tallies.sum(axis=0)
    assert pixels == KNOWN.sum()
    assert absolute / pixels == pytest.approx(mean_absolute_error(TARGETS[KNOWN], VALUES[KNOWN]), rel=1e-6)


def test_parts_of_images_have_the_mean_and_the_spread_of_r_squared() -> None:
    tallies = error_tallies(VALUES, TARGETS)
    parts = r_squared_by_image(tallies)
    assert parts.mean() == pytest.approx(r_squared_of(tallies), abs=1e-12)
    draws = np.random.default_rng(1).integers(0, 40, (2000, 40))
    resampled = np.array([r_squared_of(tallies[draw]) for draw in draws])
    assert parts.std() / 40**0.5 == pytest.approx(resampled.std(), rel=0.1)


def test_parts_are_the_derivative_by_the_weight_of_an_image() -> None:
    tallies = error_tallies(VALUES, TARGETS)
    whole, step = r_squared_of(tallies), 1e-5
    for number in (0, 7):
        weights = np.ones(40)
        weights[number] += step
        slope = (r_squared_of(tallies * weights[:, None]) - whole) / step
        assert r_squared_by_image(tallies)[number] - whole == pytest.approx(40 * slope, rel=1e-3)


def test_numbers_that_do_not_vary_have_no_r_squared() -> None:
    same = np.full((2, 3, 3), 0.1, np.float32)
    assert np.isnan(r_squared_of(error_tallies(same + 1, same)))
    assert np.isnan(r_squared_of(np.zeros((2, 5))))
