"""Test which images are duplicates."""

import numpy as np

from headstart.analysis.audit.duplicates import components, near_duplicates, same_pairs


def test_equal_keys_are_paired_with_the_first() -> None:
    assert same_pairs(["a", "b", None, "a", None, "a"]).tolist() == [[0, 3], [0, 5]]
    assert same_pairs(["a"]).shape == (0, 2)
    number = components(5, np.array([[0, 3], [3, 4]]))
    assert number[0] == number[3] == number[4]
    assert len(set(number.tolist())) == 3


def test_near_duplicates_need_both_hash_and_features() -> None:
    rng = np.random.default_rng(0)
    hashes = rng.choice([-1.0, 1.0], (4, 64)).astype(np.float32)
    hashes[1] = hashes[0]
    hashes[1, :6] *= -1  # six bits differ
    hashes[2] = hashes[0]
    hashes[2, :7] *= -1  # seven bits differ
    values = np.ones((4, 3))
    assert near_duplicates(hashes, values).tolist() == [[0, 1], [1, 2]], "1 and 2 differ in one bit"
    values[1] = [1, -1, 0]
    assert near_duplicates(hashes, values).tolist() == []
    assert near_duplicates(np.zeros((3, 64), np.float32), np.ones((3, 3))).tolist() == [], "flat images have no hash"
