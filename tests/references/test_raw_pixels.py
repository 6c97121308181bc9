"""Test that the raw-pixel reference agrees with scikit-learn."""

import numpy as np
import pytest
from sklearn.linear_model import LogisticRegression
from sklearn.preprocessing import StandardScaler

from headstart.data import Digits
from headstart.errors import ConfigError
from headstart.references.computing import compute_references
from headstart.references.raw_pixels import pixels
from headstart.settings.early_checks import check_references
from headstart.tasks import Classification


def test_agrees_with_scikit_learn(digits: Digits) -> None:
    found = compute_references(["raw_pixels"], digits, Classification(10), 0)["raw_pixels"]
    train, test = pixels(digits.train), pixels(digits.test)
    assert train.values.shape == (80, 16 * 16 * 3)
    scaler = StandardScaler().fit(train.values.double())
    reference = LogisticRegression(C=1 / (found["l2"] * len(train.targets)), max_iter=5000, tol=1e-8)
    reference.fit(scaler.transform(train.values.double()), train.targets)
    expected = reference.score(scaler.transform(test.values.double()), test.targets)
    assert found["test/accuracy"] == pytest.approx(expected, abs=0.006)
    assert found["test/accuracy"] > 0.7
    assert not any(name.startswith("train/") for name in found)
    assert np.isfinite(list(found.values())).all()


def test_a_misspelt_reference_gets_the_nearest() -> None:
    with pytest.raises(ConfigError, match="raw_pixels"):
        check_references(["raw_pixel"])
