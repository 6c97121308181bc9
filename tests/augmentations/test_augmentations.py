"""Views keep their form and repeat with their generator; mixes keep targets in step with pictures."""

import numpy as np
import pytest
import torch
from hypothesis import given, settings
from hypothesis import strategies as st

from headstart.augmentations import AugMix, CropResize, CutMix, FlipCrop, Mix, Mixup, split_views_and_mixes
from headstart.errors import ConfigError


@settings(max_examples=40, deadline=None)
@given(st.sampled_from([FlipCrop(), CropResize()]), st.integers(16, 50), st.integers(16, 50), st.integers(0, 99))
def test_views_give_squares_and_repeat(view: FlipCrop | CropResize, height: int, width: int, seed: int) -> None:
    image = np.random.default_rng(1).integers(0, 256, (height, width, 3), dtype=np.uint8)
    one, same = (view(image, np.random.default_rng(seed), 16) for _ in range(2))
    assert one.shape == (16, 16, 3)
    assert one.dtype == np.uint8
    assert np.array_equal(one, same)


@settings(max_examples=40, deadline=None)
@given(st.integers(10, 200), st.integers(10, 200), st.integers(0, 99))
def test_crops_keep_to_area_and_aspect(height: int, width: int, seed: int) -> None:
    view = CropResize(scale=(0.3, 0.8))
    left, top, right, bottom = view.box(height, width, np.random.default_rng(seed))
    assert 0 <= left < right <= width
    assert 0 <= top < bottom <= height
    if min(height, width) > 50 and max(height, width) < 1.3 * min(height, width):
        assert 0.25 < (right - left) * (bottom - top) / (height * width) < 0.85
        assert 0.7 < (right - left) / (bottom - top) < 1.4


def test_augmix_changes_pictures_and_leaves_the_global_generator_alone() -> None:
    image = np.random.default_rng(1).integers(0, 256, (24, 20, 3), dtype=np.uint8)
    state = torch.get_rng_state()
    one, same, other = (AugMix()(image, np.random.default_rng(s), 16) for s in (1, 1, 2))
    assert one.shape == image.shape
    assert np.array_equal(one, same)
    assert not np.array_equal(one, other)
    assert not np.array_equal(one, image)
    assert torch.equal(state, torch.get_rng_state())


@settings(max_examples=30, deadline=None)
@given(st.sampled_from([Mixup(1.0), CutMix(1.0)]), st.integers(2, 9), st.integers(0, 99))
def test_targets_are_mixed_as_the_pictures_are(mix: Mix, count: int, seed: int) -> None:
    # Picture i is one-hot over channels, so a channel's mean is the share of picture i in the mixture.
    pictures = torch.eye(count)[:, :, None, None].expand(count, count, 12, 10).clone()
    mixed, targets = mix(pictures, torch.eye(count), np.random.default_rng(seed))
    torch.testing.assert_close(mixed.mean(dim=(2, 3)), targets, atol=1e-5, rtol=0)
    torch.testing.assert_close(targets.sum(dim=1), torch.ones(count))


def test_a_list_keeps_its_order_and_wrong_numbers_are_refused() -> None:
    crop, mixup, augmix = CropResize(), Mixup(), AugMix()
    assert split_views_and_mixes([mixup, crop, augmix]) == ([crop, augmix], [mixup])
    for wrong in (
        lambda: Mixup(0),
        lambda: CropResize(scale=(0.9, 0.1)),
        lambda: AugMix(severity=11),
        lambda: FlipCrop(2),
    ):
        with pytest.raises(ConfigError):
            wrong()
