"""Test views: they keep the form of images, repeat with their generator, and are the same for batches."""

from collections.abc import Callable

import numpy as np
import pytest
import torch
from hypothesis import given, settings
from hypothesis import strategies as st
from PIL import Image
from scipy.stats import ks_2samp
from skimage.data import astronaut

from headstart.augmentations import (
    AugMix,
    AutoAugment,
    Blur,
    ColorJitter,
    CropResize,
    FlipCrop,
    Jpeg,
    Pipeline,
    RandAugment,
    RandomErasing,
    TrivialAugment,
    View,
)
from headstart.augmentations.augmix import NAMES, Mixture
from headstart.augmentations.batch_operations import apply_steps_batch
from headstart.augmentations.operations import GEOMETRIC, apply_steps
from headstart.augmentations.policies import ALL
from headstart.errors import ConfigError
from headstart.seeds import generator

PHOTO = np.asarray(Image.fromarray(astronaut()).resize((44, 36), Image.Resampling.BOX))
EVERY = [
    FlipCrop(), CropResize(), AugMix(), RandAugment(), TrivialAugment(), AutoAugment(), AutoAugment("svhn"),
    ColorJitter(grey=0.2, share=0.8), RandomErasing(share=0.8), Blur(sigma=(1, 15), share=0.8), Jpeg(),
]  # fmt: skip


def name_of(view: View) -> str:
    return type(view).__name__


@settings(max_examples=60, deadline=None)
@given(st.sampled_from(EVERY), st.integers(16, 50), st.integers(16, 50), st.integers(0, 99))
def test_views_keep_their_form_and_repeat(view: View, height: int, width: int, seed: int) -> None:
    image = np.random.default_rng(1).integers(0, 256, (height, width, 3), dtype=np.uint8)
    before, state = image.copy(), torch.get_rng_state()
    one, same = (view(image, np.random.default_rng(seed), 16) for _ in range(2))
    assert one.shape == ((16, 16, 3) if view.crops else image.shape)
    assert one.dtype == np.uint8
    assert np.array_equal(one, same)
    assert np.array_equal(image, before)
    assert torch.equal(state, torch.get_rng_state())


@pytest.mark.parametrize("view", EVERY, ids=name_of)
def test_other_seeds_give_other_views(view: View) -> None:
    seen = {view(PHOTO, np.random.default_rng(seed), 32).tobytes() for seed in range(20)}
    assert len(seen) > 5


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


def batch_form(view: View, seeds: range) -> np.ndarray:
    pipeline = Pipeline([view])
    drawn = [pipeline.draw(np.random.default_rng(seed), PHOTO.shape[:2], 32) for seed in seeds]
    done = pipeline.pack([PHOTO] * len(drawn), None, drawn, 32)[0].done()
    return done.permute(0, 2, 3, 1).numpy()


WITH_BATCH_FORM = [view for view in EVERY if view.has_batch_form]


@pytest.mark.parametrize("view", WITH_BATCH_FORM, ids=name_of)
def test_the_same_draw_is_the_same_view_in_a_batch(view: View) -> None:
    batch = batch_form(view, range(40))
    single = np.stack([view(PHOTO, np.random.default_rng(seed), 32) for seed in range(40)])
    difference = np.abs(batch.astype(int) - single.astype(int))
    assert np.median(difference.mean(axis=(1, 2, 3))) < 0.3
    assert difference.mean() < 1


STATISTICS: dict[str, Callable[[np.ndarray], np.ndarray]] = {
    "mean": lambda x: x.mean(axis=(1, 2, 3)),
    "deviation": lambda x: x.std(axis=(1, 2, 3)),
    "detail": lambda x: np.abs(np.diff(x.astype(float), axis=2)).mean(axis=(1, 2, 3)),
    "left against right": lambda x: x[:, :, :16].mean(axis=(1, 2, 3)) - x[:, :, 16:32].mean(axis=(1, 2, 3)),
    "red against blue": lambda x: (x[..., 0].astype(float) - x[..., 2]).mean(axis=(1, 2)),
}


@pytest.mark.parametrize("view", WITH_BATCH_FORM, ids=name_of)
def test_batches_have_the_distribution_of_single_images(view: View) -> None:
    batch = batch_form(view, range(300))
    single = np.stack([view(PHOTO, np.random.default_rng(seed), 32) for seed in range(1000, 1300)])
    for name, statistic in STATISTICS.items():
        assert ks_2samp(statistic(batch), statistic(single)).pvalue > 1e-3, name


def test_augmix_of_weight_zero_is_the_image_itself() -> None:
    chains = ([("rotate", 20.0)], [("solarize", 10.0)], [("equalize", 0.0)])
    nothing, everything = (Mixture(weight, (0.2, 0.3, 0.5), chains) for weight in (0.0, 1.0))
    batch = torch.from_numpy(PHOTO.copy()).permute(2, 0, 1)[None]
    assert np.array_equal(AugMix().apply(PHOTO, nothing, 32), PHOTO)
    assert torch.equal(AugMix().apply_batch(batch, [nothing], 32), batch)
    assert not np.array_equal(AugMix().apply(PHOTO, everything, 32), PHOTO)


def test_augmix_is_the_weighted_sum_of_the_paper() -> None:
    drawn = Mixture(0.7, (0.5, 0.3, 0.2), ([("invert", 0.0)], [("posterize", 1.0)], [("translate_x", 2.0)]))
    x = PHOTO.astype(float)
    expected = 0.3 * x + 0.7 * (0.5 * (255 - x) + 0.3 * (PHOTO & 128) + 0.2 * 0)
    assert np.abs(AugMix().apply(PHOTO, drawn, 32) - expected).max() <= 0.51


def test_augmix_draws_as_the_paper_says() -> None:
    view = AugMix()
    drawn = [view.draw(np.random.default_rng(seed), (32, 32), 32) for seed in range(2000)]
    weights, shares = np.array([one.weight for one in drawn]), np.array([one.shares for one in drawn])
    assert ks_2samp(weights, np.random.default_rng(0).beta(1, 1, 4000)).pvalue > 1e-3
    assert ks_2samp(shares[:, 0], np.random.default_rng(0).dirichlet([1, 1, 1], 4000)[:, 0]).pvalue > 1e-3
    np.testing.assert_allclose(shares.sum(axis=1), 1)
    depths = np.array([len(chain) for one in drawn for chain in one.chains])
    np.testing.assert_allclose(np.bincount(depths, minlength=4)[1:] / len(depths), 1 / 3, atol=0.03)
    names = [name for one in drawn for chain in one.chains for name, _ in chain]
    counts = np.array([names.count(name) for name in NAMES])
    assert counts.sum() == len(names)
    np.testing.assert_allclose(counts / len(names), 1 / 9, atol=0.02)
    corruptions = {"brightness", "contrast", "color", "sharpness", "blur", "jpeg"}
    assert corruptions.isdisjoint(NAMES)
    turns = [magnitude for one in drawn for chain in one.chains for name, magnitude in chain if name == "rotate"]
    assert -9 < min(turns) < -5
    assert 5 < max(turns) < 9


@pytest.mark.parametrize("severity", [1, 3, 10])
def test_augmix_cuts_to_whole_numbers(severity: int) -> None:
    """Numbers are cut towards 0, as in the authors' code, so many operations at low severities change nothing."""
    shape, view = (32, 48), AugMix(severity=severity)
    drawn = [view.draw(np.random.default_rng(seed), shape, 32) for seed in range(1500)]
    steps = [step for one in drawn for chain in one.chains for step in chain]
    levels = np.random.default_rng(0).uniform(0.1, severity, 20_000)
    rests = {
        "rotate": (levels * 30 / 10, lambda magnitude: abs(magnitude)),
        "translate_x": (levels * (48 / 3) / 10, lambda magnitude: abs(magnitude) * 48),
        "translate_y": (levels * (32 / 3) / 10, lambda magnitude: abs(magnitude) * 32),
        "posterize": (levels * 4 / 10, lambda bits: 4 - bits),
        "solarize": (levels * 256 / 10, lambda threshold: 256 - threshold),
    }
    for name, (expected, of) in rests.items():
        found = np.array([of(magnitude) for one, magnitude in steps if one == name])
        np.testing.assert_allclose(found, found.round(), atol=1e-9)
        assert ks_2samp(found.round(), expected.astype(int)).pvalue > 1e-3, name


def translated_by_pillow(pixel_rows: np.ndarray, level: float, sign: int) -> np.ndarray:
    side = pixel_rows.shape[1]
    image = Image.fromarray(pixel_rows)
    moved = image.transform((side, side), Image.Transform.AFFINE, (1, 0, sign * int(level * side / 3 / 10), 0, 1, 0))
    return np.asarray(moved)


def test_a_translation_of_augmix_is_pillows() -> None:
    square = np.ascontiguousarray(PHOTO[:32, :32])
    batch = torch.from_numpy(square).permute(2, 0, 1)[None]
    for level in (0.5, 0.93, 0.94, 1.7, 2.9, 9.9):
        view = AugMix(severity=10)
        which = (NAMES.index("translate_x") + 0.5) / len(NAMES)
        for sign in (-1, 1):
            step = view._step((32, 32), which, (level - 0.1) / 9.9, 0.25 if sign > 0 else 0.75)
            expected = translated_by_pillow(square, level, sign)
            assert np.array_equal(apply_steps(square, [step]), expected), (level, sign)
            assert np.array_equal(apply_steps_batch(batch, [[step]])[0].permute(1, 2, 0).numpy(), expected)


def test_policies_draw_what_their_papers_say() -> None:
    rng = np.random.default_rng(0)
    for view, count in ((RandAugment(operations=3), 3), (TrivialAugment(), 1)):
        drawn = [view.draw_steps(rng) for _ in range(1500)]
        assert {len(steps) for steps in drawn} == {count}
        names = [name for steps in drawn for name, _ in steps]
        np.testing.assert_allclose([names.count(name) / len(names) for name in ALL], 1 / 14, atol=0.03)
    turns = {magnitude for _ in range(300) for name, magnitude in RandAugment().draw_steps(rng) if name == "rotate"}
    assert turns == {-9.0, 9.0}  # magnitude 9 of 30, of 30 degrees
    used = {name for _ in range(500) for name, _ in AutoAugment().draw_steps(rng)}
    assert used <= {*ALL, "invert"}
    assert len(used & set(GEOMETRIC)) >= 1


def test_a_rectangle_is_erased_in_its_share_of_the_images() -> None:
    view = RandomErasing(share=0.3, area=(0.1, 0.2), fill="black")
    white = np.full((40, 30, 3), 255, np.uint8)
    erased = np.array([(view(white, np.random.default_rng(seed), 30) == 0).mean() for seed in range(400)])
    assert 0.2 < (erased > 0).mean() < 0.4
    assert erased[erased > 0].min() > 0.08
    assert erased.max() < 0.22


@pytest.mark.parametrize("shape", [(1, 1), (2, 9), (9, 2), (40, 30)])
@pytest.mark.parametrize(
    "view", [AugMix(severity=10), RandAugment(operations=8), Blur(share=1), RandomErasing(share=1)]
)
def test_images_of_any_shape_and_layout(view: View, shape: tuple[int, int]) -> None:
    image = np.random.default_rng(0).integers(0, 256, (*shape, 3), dtype=np.uint8)
    tensor = torch.from_numpy(image).permute(2, 0, 1)
    for seed in range(12):
        drawn = view.draw(np.random.default_rng(seed), shape, min(shape))
        if drawn is None:
            continue
        planes = np.asarray(tensor.contiguous().permute(1, 2, 0))  # as a view of one's own may return it
        planes.flags.writeable = False
        expected = view.apply(image, drawn, min(shape))
        np.testing.assert_array_equal(view.apply(planes, drawn, min(shape)), expected)
        assert view.apply_batch(tensor[None], [drawn], min(shape)).shape == (1, 3, *shape)


@pytest.mark.parametrize(
    ("make", "message"),
    [
        (lambda: CropResize(scale=(0.9, 0.1)), r"crop_resize.scale=\[0.9, 0.1\]"),
        (lambda: CropResize(scale=(0.0, 0.0)), "crop_resize.scale"),
        (lambda: CropResize(copies=0), "crop_resize.copies=0"),
        (lambda: AugMix(severity=11), "augmix.severity=11"),
        (lambda: AugMix(jsd=-1), "augmix.jsd=-1"),
        (lambda: AugMix(depth=(3, 1)), "augmix.depth"),
        (lambda: AugMix(depth=(1.5, 2.5)), r"augmix.depth=\[1.5, 2.5\]: expected one or two whole"),  # type: ignore[arg-type]
        (lambda: FlipCrop(2), "flip_crop.flip=2"),
        (lambda: RandAugment(magnitude=30.5), "rand_augment.magnitude=30.5"),
        (lambda: AutoAugment("imagnet"), "Did you mean 'imagenet'"),
        (lambda: ColorJitter(hue=(-0.6, 0.6)), "color_jitter.hue"),
        (lambda: ColorJitter(brightness=0.4), "color_jitter.brightness=0.4: expected two factors"),  # type: ignore[arg-type]
        (lambda: Jpeg(quality=(0, 50)), "jpeg.quality"),
        (lambda: Blur(sigma=(0, 2)), "blur.sigma"),
        (lambda: RandomErasing(fill="white"), "random_erasing.fill=white"),
    ],
)
def test_wrong_numbers_are_refused(make: Callable[[], View], message: str) -> None:
    with pytest.raises(ConfigError, match=message):
        make()


def test_views_of_a_position_and_epoch_are_always_the_same() -> None:
    pipeline = Pipeline([CropResize(), AugMix(jsd=12), RandomErasing()])
    one, same, other = (pipeline.draw(generator("augmentation", 0, epoch, 5), (40, 40), 32) for epoch in (1, 1, 2))
    assert one == same != other
