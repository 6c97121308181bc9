"""Test networks on corrupted images: each image is corrupted once, in the same way in any batches."""

from collections.abc import Sequence

import numpy as np
from numpy.typing import NDArray

from headstart.robustness import corrupt
from headstart.robustness.measuring import Source, measure

COUNT = 23
IMAGES = np.random.default_rng(0).integers(0, 256, (COUNT, 32, 32, 3), dtype=np.uint8)
TARGETS = np.arange(COUNT) % 2


class Bright:
    """Classify dark and bright images by a threshold, and count the calls for features."""

    def __init__(self, threshold: float, body_key: str = "mean") -> None:
        self.threshold, self.body_key, self.asked = threshold, body_key, 0

    def features(self, views: NDArray[np.uint8]) -> NDArray[np.float32]:
        self.asked += 1
        return views.mean(axis=(0, 2, 3, 4))[:, None].astype(np.float32)

    def predict(self, features: NDArray[np.float32]) -> NDArray[np.int64]:
        return (features[:, 0] > self.threshold).astype(np.int64)


def source(batches: Sequence[Sequence[int]]) -> Source:
    return Source(lambda position, view: IMAGES[position], TARGETS, [np.array(one) for one in batches])


def right(batches: Sequence[Sequence[int]], threshold: float = 127.0) -> dict[tuple[str, int], list[bool]]:
    wanted = {"fog": [2, 5], "shot_noise": [1]}
    found = measure(source(batches), [Bright(threshold)], [wanted])
    return {(name, at): told.tolist() for name, (of,) in found for at, told in of.items()}


def test_answers_are_those_of_images_corrupted_one_by_one() -> None:
    expected = {
        (name, severity): [
            bool((corrupt(image, name, severity).mean() > 127.0) == target)
            for image, target in zip(IMAGES, TARGETS, strict=True)
        ]
        for name, severity in (("fog", 2), ("fog", 5), ("shot_noise", 1))
    }
    order = np.random.default_rng(1).permutation(COUNT).tolist()
    assert right([list(range(COUNT))]) == expected
    assert right([order[:9], order[9:]]) == expected
    assert any(True in told and False in told for told in expected.values())


def test_images_have_the_same_digest_in_whatever_batches() -> None:
    positions = np.array([3, 1, 2])
    digests = {source(batches).digest(positions) for batches in ([[1, 2, 3]], [[3], [2, 1]])}
    assert len(digests) == 1
    assert source([[1, 2, 3]]).digest(np.array([1, 2, 3])) not in digests


def test_networks_with_one_backbone_share_its_features() -> None:
    first, second, other = Bright(120.0), Bright(127.0), Bright(127.0, "other")
    wanted = [{"fog": [1, 3]}, {"fog": [3]}, {"contrast": [2]}]
    found = list(measure(source([list(range(COUNT))]), [first, second, other], wanted))
    assert [(name, [sorted(told) for told in of]) for name, of in found] == [
        ("fog", [[1, 3], [3], []]),
        ("contrast", [[], [], [2]]),
    ]
    assert (first.asked, second.asked, other.asked) == (2, 0, 1)
