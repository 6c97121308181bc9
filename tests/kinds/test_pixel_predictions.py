"""Test that predictions of numbers at pixels come back from their file, and that damaged files are refused."""

from pathlib import Path

import numpy as np
import pytest

from headstart.errors import DataError
from headstart.kinds import KINDS
from headstart.kinds.pixel_predictions import PixelPredictions
from headstart.records.predictions import read_predictions
from headstart.solvers.pixel_errors import error_tallies

KIND = KINDS["dense_regression"]
TARGETS = np.random.default_rng(0).normal(3, 1, (5, 4, 4)).astype(np.float32)
PREDICTIONS = PixelPredictions([f"a/{n}.png" for n in range(5)], error_tallies(TARGETS * 0.9, TARGETS))


def test_a_file_comes_back_bit_for_bit(tmp_path: Path) -> None:
    file = tmp_path / "predictions.csv"
    file.write_text(PREDICTIONS.text())
    found = read_predictions(file, KIND)
    assert list(found.ids) == list(PREDICTIONS.ids)
    np.testing.assert_array_equal(found.tallies, PREDICTIONS.tallies)
    assert found.images == PREDICTIONS.images
    assert found.text() == PREDICTIONS.text()


def test_scores_are_those_of_all_pixels() -> None:
    error = np.abs(TARGETS * 0.9 - TARGETS)
    numbers = KIND.further(PREDICTIONS, None).numbers
    assert numbers["mae"] == pytest.approx(error.mean(), rel=1e-6)
    assert numbers["rmse"] == pytest.approx((error**2).mean() ** 0.5, rel=1e-6)
    (table,) = KIND.details(PREDICTIONS, None)
    worst = PREDICTIONS.ids[int((error**2).mean(axis=(1, 2)).argmax())]
    assert table.rows[0][0].text == worst


@pytest.mark.parametrize(
    ("old", "new", "sentence"),
    [
        ("number,id,pixels", "number,id,pixel", "does not have the columns"),
        ("0,a/0.png,16,", "0,a/0.png,-16,", "impossible sums"),
        ("1,a/1.png,16,", "7,a/1.png,16,", "does not number its rows"),
        ("0,a/0.png,16,", "0,a/0.png,1.5,", "predictions.csv"),
        ("0,a/0.png,16,", "0,a/0.png,16,1e99,", "predictions.csv"),
        ("0,a/0.png,16,", "0,a/0.png,16,nan", "predictions.csv"),
    ],
)
def test_damaged_files_are_refused(tmp_path: Path, old: str, new: str, sentence: str) -> None:
    file = tmp_path / "predictions.csv"
    assert old in PREDICTIONS.text()
    file.write_text(PREDICTIONS.text().replace(old, new, 1))
    with pytest.raises(DataError, match=sentence):
        read_predictions(file, KIND)
