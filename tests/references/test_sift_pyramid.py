"""Test the spatial pyramids of SIFT words: descriptors, histograms, kernel, and the scores on small images."""

from typing import Any

import cv2
import numpy as np
import pytest
import torch
from sklearn.svm import SVC

from headstart.backbones import Preprocessing
from headstart.data import Textures
from headstart.errors import ConfigError
from headstart.references import sift_pyramid as pyramid_module
from headstart.references.computing import compute_references
from headstart.references.sift_pyramid import DenseSift, intersections, level_weights, pyramids
from headstart.tasks import Classification


@pytest.fixture(scope="module")
def textures() -> Textures:
    """Return twelve textures of 32 pixels: 10 images a class to train, 4 to validate, 8 to test."""
    data = Textures(image_size=32, counts=[10, 4, 8], num_workers=0)
    data.prepare(Preprocessing(32, (0.5,) * 3, (0.25,) * 3, "bilinear", 1.0))
    return data


def scores(data: Textures, seed: int, task: Classification | None = None) -> dict[str, float]:
    """Return the scores of the reference."""
    return dict(compute_references(["sift_pyramid"], data, task or Classification(12), seed)["sift_pyramid"])


def test_small_images_are_classified_far_above_chance_and_a_seed_repeats(
    textures: Textures, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(pyramid_module, "WORDS", 60)
    monkeypatch.setattr(pyramid_module, "SAMPLED", (50, 6000))
    first, again, other = scores(textures, 0), scores(textures, 0), scores(textures, 1)
    assert first["test/accuracy"] > 0.5  # chance: 0.083
    assert first["validation/loss"] < 1.6  # margins are scaled to logits; unscaled ones give 1.9
    assert first == again
    assert first != other


def test_more_images_than_the_kernel_has_room_for(textures: Textures, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(pyramid_module, "MOST", 119)
    with pytest.raises(ConfigError, match=r"textures has 120; expected at most 119: use dataset.labels_per_class"):
        scores(textures, 0)


def test_descriptors_are_opencvs_in_image_and_half() -> None:
    grey = np.random.default_rng(0).integers(0, 256, (200, 200)).astype(np.uint8)
    sift = DenseSift(200)
    found = sift.describe(grey)
    assert found.shape == (24 * 24 + 22 * 22, 128)
    assert (found**2).sum(axis=1) == pytest.approx(1, abs=1e-5)
    assert sift.places[0].tolist() == [8 / 200, 8 / 200]
    assert sift.places[1].tolist() == [8 / 200, 16 / 200]  # down, then right
    own = cv2.SIFT_create(sigma=0.8).compute(grey, [cv2.KeyPoint(16, 8, 16 / 6, 0)])[1][0]  # type: ignore[attr-defined]
    assert found[1] == pytest.approx(np.sqrt(own / own.sum()), abs=1e-6)
    half = cv2.resize(grey, (100, 100), interpolation=cv2.INTER_AREA)
    own = cv2.SIFT_create(sigma=0.8).compute(half, [cv2.KeyPoint(92, 92, 16 / 6, 0)])[1][0]  # type: ignore[attr-defined]
    assert found[-1] == pytest.approx(np.sqrt(own / own.sum()), abs=1e-6)
    assert not sift.describe(np.full((200, 200), 7, np.uint8)).any()  # a flat image has no gradients, and no NaN


def test_small_images_are_enlarged() -> None:
    assert len(DenseSift(32).places) == len(DenseSift(128).places) == 15 * 15 + 13 * 13


def test_pyramids_weigh_the_levels() -> None:
    assert level_weights(3) == [0.25, 0.25, 0.5]
    assert level_weights(1) == [1]
    # Words 0 and 1: the first patch lies in the upper left, the second in the lower right, near the centre.
    (values,) = pyramids(np.array([[0, 1]], np.uint16), np.array([[0.1, 0.3], [0.6, 0.7]]), count=2)
    expected = np.zeros(2 * 21)
    expected[[0, 1]] = 0.25 / 2  # the whole image holds both
    expected[[2 + 2 * 0 + 0, 2 + 2 * 3 + 1]] = 0.25 / 2  # quarters 0 and 3
    expected[[10 + 2 * 1 + 0, 10 + 2 * 10 + 1]] = 0.5 / 2  # sixteenths (0, 1) and (2, 2)
    assert values.tolist() == expected.tolist()


def test_intersections_are_sums_of_minima() -> None:
    rng = np.random.default_rng(0)
    places = rng.random((30, 2))
    a, b = (pyramids(rng.integers(0, 5, (count, 30)).astype(np.uint16), places, count=5) for count in (3, 4))
    by_hand = [[sum(min(x, y) for x, y in zip(one, other, strict=True)) for other in b] for one in a]
    assert intersections(a, b.T.copy()) == pytest.approx(np.array(by_hand), abs=1e-6)
    assert np.diag(intersections(a, a.T.copy())) == pytest.approx(1, abs=1e-6)


def test_balanced_classes_weigh_their_images(monkeypatch: pytest.MonkeyPatch) -> None:
    given: list[Any] = []

    class Watched(SVC):  # type: ignore[misc]
        def fit(self, X: Any, y: Any, sample_weight: Any = None) -> "Watched":
            given.append(sample_weight)
            return super().fit(X, y, sample_weight)

    monkeypatch.setattr("sklearn.svm.SVC", Watched)
    kernel, targets = np.eye(3), torch.tensor([0, 0, 1])
    pyramid_module._fit_svm(kernel, targets, Classification(2, class_weights=[1, 1]), 1)
    assert given[0].tolist() == [0.75, 0.75, 1.5]
