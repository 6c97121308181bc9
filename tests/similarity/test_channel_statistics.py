"""Test the distance of channel statistics with Gaussians of known moments."""

import numpy as np
import pytest

from headstart.similarity.channel_statistics import statistics_distance


def test_distances_by_hand() -> None:
    assert statistics_distance([0, 2], [1, 4], [0, 2], [1, 4]) == 0
    assert statistics_distance([0.0], [4.0], [2.0], [4.0], eps=0) == pytest.approx(1), "one deviation"
    # Channels: ((1 - 0)^2 + (1 - 2)^2) / 1 = 2, and ((5 - 2)^2 + 0) / 9 = 1.
    assert statistics_distance([0, 2], [1, 9], [1, 5], [4, 9], eps=0) == pytest.approx(np.sqrt(1.5))


def test_a_channel_without_variance_counts_by_eps() -> None:
    assert statistics_distance([0.0], [0.0], [0.1], [0.0], eps=0.01) == pytest.approx(1)


def test_arrays_of_other_shapes() -> None:
    with pytest.raises(ValueError, match="same length"):
        statistics_distance([0.0], [1.0], [0.0, 1.0], [1.0, 1.0])
