"""Test the 15 corruptions: they repeat for the same pixels, grow with severity, and work at every size."""

import random

import cv2
import numpy as np
import pytest
import torch
from hypothesis import given, settings
from hypothesis import strategies as st
from scipy.stats import kstest
from skimage import data

from headstart.errors import ConfigError
from headstart.robustness import NAMES, SEVERITIES, content_of, corrupt, severities_for
from headstart.robustness.corruptions import glass_blur, plasma
from headstart.seeds import generator

SIZES = (32, 64, 224)


def photograph(side: int, number: int = 0) -> np.ndarray:
    """Return a part of a real image, uint8 (side, side, 3)."""
    top = 40 * number
    return np.asarray(cv2.resize(data.astronaut()[top : top + 300, 80:380], (side, side), interpolation=cv2.INTER_AREA))


def global_states() -> tuple[str, bytes, object]:
    """Return the states of the global generators of NumPy, PyTorch and Python."""
    return repr(np.random.get_state()), torch.get_rng_state().numpy().tobytes(), random.getstate()  # noqa: NPY002


@settings(max_examples=40, deadline=None)
@given(
    name=st.sampled_from(NAMES),
    severity=st.sampled_from(SEVERITIES),
    height=st.integers(32, 96),
    width=st.integers(32, 96),
    grey=st.booleans(),
    seed=st.integers(0, 99),
)
def test_shape_and_type_stay_and_the_same_comes_again(
    name: str, severity: int, height: int, width: int, grey: bool, seed: int
) -> None:
    rng = np.random.default_rng(seed)
    image = rng.integers(0, 256, (height, width, 1 if grey else 3), dtype=np.uint8)
    image = np.repeat(image, 3, axis=2) if grey else image
    before = image.copy()
    states = global_states()
    found = corrupt(image, name, severity)
    assert (found.shape, found.dtype) == (image.shape, np.uint8)
    assert np.array_equal(corrupt(image, name, severity, content_of(image)), found)
    assert np.array_equal(image, before)
    assert global_states() == states


@pytest.mark.parametrize("side", SIZES)
@pytest.mark.parametrize("name", [name for name in NAMES if name != "elastic_transform"])
def test_severity_five_is_further_from_the_image_than_one(name: str, side: int) -> None:
    images = [photograph(side, number) for number in range(5)]
    first, fifth = (
        np.mean([np.sqrt(np.mean((corrupt(one, name, severity) - one.astype(float)) ** 2)) for one in images])
        for severity in (1, 5)
    )
    assert fifth > 1.05 * first


@pytest.mark.parametrize("side", SIZES)
def test_elastic_bends_more_with_severity(side: int) -> None:
    """With severity the published constants reduce the affine part, which moves far, and increase local bends."""
    rows, columns = np.mgrid[:side, :side]
    ramps = np.stack([rows, columns, rows + columns], axis=2) * (127 / side)
    inside = (slice(side // 4, -(side // 4)),) * 2

    def bent(severity: int, number: int) -> float:
        ramp = (ramps + number).astype(np.uint8)
        found = corrupt(ramp, "elastic_transform", severity)[inside].astype(float)
        plane = np.stack([rows[inside].ravel(), columns[inside].ravel(), np.ones(found[..., 0].size)], axis=1)
        values = found[..., :2].reshape(-1, 2)
        return float(np.abs(values - plane @ np.linalg.lstsq(plane, values, rcond=None)[0]).mean() * side / 127)

    first, fifth = (np.mean([bent(severity, number) for number in range(4)]) for severity in (1, 5))
    assert fifth > 1.2 * first


def test_other_pixels_other_noise_and_other_severities_other_draws() -> None:
    one, other = photograph(48), photograph(48, 1)
    noise = [corrupt(image, "gaussian_noise", 1).astype(int) - image for image in (one, other)]
    assert abs(np.corrcoef(noise[0].ravel(), noise[1].ravel())[0, 1]) < 0.1
    again = corrupt(one, "gaussian_noise", 2).astype(int) - one
    assert abs(np.corrcoef(noise[0].ravel(), again.ravel())[0, 1]) < 0.1


def test_noise_is_of_the_published_size() -> None:
    grey = np.full((64, 64, 3), 128, np.uint8)
    constants = severities_for(64).constants
    noise = (corrupt(grey, "gaussian_noise", 3) - 128.0) / 255
    assert kstest(noise.ravel(), "norm", (0, constants["gaussian_noise"][2])).statistic < 0.02
    struck = (corrupt(grey, "impulse_noise", 5) != 128).mean()
    assert struck == pytest.approx(constants["impulse_noise"][4], abs=0.01)
    shot = corrupt(grey, "shot_noise", 4) / 255.0
    assert shot.var() == pytest.approx(128 / 255 / constants["shot_noise"][3], rel=0.1)


def test_each_size_has_the_constants_of_the_nearest_set() -> None:
    names = {side: severities_for(side).name for side in (28, 32, 45, 46, 64, 119, 120, 224, 384)}
    assert [names[side] for side in (28, 32, 45)] == ["CIFAR-10-C"] * 3
    assert [names[side] for side in (46, 64, 119)] == ["Tiny ImageNet-C"] * 3
    assert [names[side] for side in (120, 224, 384)] == ["ImageNet-C"] * 3


def test_glass_is_what_the_loop_over_pixels_gives() -> None:
    """Without blur each pixel, from the last to the first, takes the current value of a random neighbour."""
    side, reach, rounds = 20, 3, 2
    x = np.random.default_rng(0).random((side, side, 3), dtype=np.float32)
    found = glass_blur(x, (0.05, reach, rounds), generator("glass", 1))
    rng, expected = generator("glass", 1), x.copy()
    inner = range(reach + 1, side - reach + 1)
    for _ in range(rounds):
        down, right = rng.integers(-reach, reach, (2, len(inner) ** 2)).reshape(2, len(inner), len(inner))
        for row in reversed(inner):
            for column in reversed(inner):
                place = row - reach - 1, column - reach - 1
                expected[row, column] = expected[row + down[place], column + right[place]]
    assert np.array_equal(found, expected)


def test_clouds_fill_their_range_and_close_at_the_edges() -> None:
    clouds = plasma(40, 2.0, np.random.default_rng(0))
    assert clouds.shape == (64, 64)
    assert (clouds.min(), clouds.max()) == (0, 1)
    inside, across = np.abs(np.diff(clouds, axis=0)).mean(), np.abs(clouds[0] - clouds[-1]).mean()
    assert across < 4 * inside


@pytest.mark.parametrize(
    ("name", "severity", "side", "sentence"),
    [
        ("fogg", 1, 32, "Did you mean 'fog'"),
        ("fog", 6, 32, "The severity is 6; expected 1 to 5"),
        ("fog", 1, 8, "shorter side has 8 pixels; corruptions need at least 16"),
    ],
)
def test_wrong_images_and_corruptions_are_refused(name: str, severity: int, side: int, sentence: str) -> None:
    with pytest.raises(ConfigError, match=sentence):
        corrupt(np.zeros((side, side, 3), np.uint8), name, severity)
