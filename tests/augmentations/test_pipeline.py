"""Test lists of augmentations: their order, several views of an image, and views on the device."""

import numpy as np
import pytest
import torch
from PIL import Image
from pytorch_lightning.plugins.precision import HalfPrecision
from skimage.data import astronaut

from headstart.augmentations import (
    Augmentation,
    AugMix,
    Blur,
    ColorJitter,
    CropResize,
    FixedViews,
    FlipCrop,
    ManifoldMixup,
    Mix,
    Mixup,
    Pipeline,
    RandomErasing,
    View,
)
from headstart.augmentations.view import PixelArray, Shape
from headstart.errors import ConfigError

PHOTO = np.asarray(Image.fromarray(astronaut()).resize((44, 36), Image.Resampling.BOX))


class Own(View):
    """A user's view for single images only; it writes its number into a corner."""

    def __init__(self, number: int) -> None:
        self.number = number

    def draw(self, rng: np.random.Generator, shape: Shape, size: int) -> int:
        return self.number

    def apply(self, image: PixelArray, drawn: int, size: int) -> PixelArray:
        image = image.copy()
        image[0, 0] = image[0, 0] // 2 + drawn
        return image


def done(views: list[View], on_device: bool, images: list[PixelArray] | None = None) -> torch.Tensor:
    pipeline, images = Pipeline(views), images or [PHOTO, PHOTO[:, :36]]
    drawn = [pipeline.draw(np.random.default_rng(n + 10), one.shape[:2], 32) for n, one in enumerate(images)]
    return pipeline.pack(images, None, drawn, 32)[0].done() if on_device else pipeline.stack(images, None, drawn, 32)[0]


def test_views_work_in_the_order_of_the_list() -> None:
    black = [np.zeros((32, 32, 3), np.uint8)]
    assert done([Own(8), Own(100)], False, black)[0, :, 0, 0].tolist() == [104] * 3
    assert done([Own(100), Own(8)], False, black)[0, :, 0, 0].tolist() == [58] * 3


@pytest.mark.parametrize(
    ("views", "batch_from"),
    [
        ([CropResize(), ColorJitter(), RandomErasing()], 0),
        ([CropResize(copies=2), ColorJitter()], 0),
        ([FlipCrop(), AugMix(jsd=12), RandomErasing()], 1),
        ([ColorJitter(), CropResize(), AugMix()], 1),
        ([CropResize(), Own(3), ColorJitter()], 2),
        ([CropResize(copies=2), Own(3), ColorJitter()], 2),
    ],
)
def test_views_are_equal_in_workers_and_on_the_device(views: list[View], batch_from: int) -> None:
    assert Pipeline(views).batch_from == batch_from
    by_loader, on_device = done(views, False), done(views, True)
    assert by_loader.shape == on_device.shape == (2 * Pipeline(views).branches, 3, 32, 32)
    assert (by_loader.int() - on_device.int()).abs().float().mean() < 0.5


@pytest.mark.parametrize("view", [CropResize(), AugMix(), Blur(sigma=(2, 9), share=1), ColorJitter()])
def test_precision_is_the_network_s_not_the_views(view: View) -> None:
    views = [view] if view.crops else [CropResize(), view]
    plain = done(views, True)
    with torch.autocast("cpu", torch.bfloat16):
        assert torch.equal(done(views, True), plain)
    torch.set_default_dtype(torch.bfloat16)  # as Lightning does for trainer.precision=bf16-true
    try:
        assert torch.equal(done(views, True), plain)
    finally:
        torch.set_default_dtype(torch.float32)


def test_drawn_parameters_pass_through_lightnings_plugin_for_half_precision() -> None:
    pipeline = Pipeline([CropResize()])
    drawn = [pipeline.draw(np.random.default_rng(0), (36, 44), 32)]
    undone, *_ = HalfPrecision("bf16-true").convert_input((pipeline.pack([PHOTO], None, drawn, 32)[0], torch.zeros(1)))
    assert torch.equal(undone.done(), pipeline.pack([PHOTO], None, drawn, 32)[0].done())


@pytest.mark.parametrize(
    "views", [[CropResize(scale=(0.02, 0.1))], [CropResize(scale=(0.02, 0.1), copies=2), AugMix()]]
)
def test_the_loader_sends_only_the_cropped_part_of_a_panorama(views: list[View]) -> None:
    panorama = np.tile(PHOTO, (1, 60, 1))
    pipeline, images = Pipeline(views), [panorama, PHOTO]
    drawn = [pipeline.draw(np.random.default_rng(n), one.shape[:2], 32) for n, one in enumerate(images)]
    packed, _ = pipeline.pack(images, None, drawn, 32)
    assert max(packed.images.shape[-2:]) <= 64
    apart = packed.done().int() - pipeline.stack(images, None, drawn, 32)[0].int()
    assert apart.abs().float().mean() < 0.5


def test_augmix_gives_the_image_and_two_mixtures() -> None:
    views = done([CropResize(flip=0), AugMix(jsd=12)], False)
    clean = done([CropResize(flip=0)], False)
    assert torch.equal(views[:2], clean)
    for number in range(2):
        first, second, third = views[number::2]
        assert not torch.equal(second, third)
        assert not torch.equal(first, second)


def test_two_views_of_every_image_differ() -> None:
    views = done([CropResize(copies=2)], False)
    assert views.shape[0] == 4
    assert not torch.equal(views[0], views[2])


def test_fixed_views_start_with_the_centre() -> None:
    square = done([FixedViews("ten_crop")], False, [PHOTO])
    centre = torch.from_numpy(PHOTO[2:34, 6:38].copy()).permute(2, 0, 1)
    assert len(square) == 10
    assert torch.equal(square[0], centre)
    assert torch.equal(square[5], centre.flip(2))
    assert torch.equal(square[1], torch.from_numpy(PHOTO[:32, :32].copy()).permute(2, 0, 1))
    assert torch.equal(square[4], torch.from_numpy(PHOTO[4:, 12:].copy()).permute(2, 0, 1))
    assert torch.equal(done([FixedViews("five_crop")], False, [PHOTO]), square[:5])
    assert torch.equal(done([FixedViews("flip")], False, [PHOTO]), square[[0, 5]])


@pytest.mark.parametrize(
    ("parts", "message"),
    [
        ({"crop_resize": CropResize(copies=2), "augmix": AugMix(jsd=12)}, "CropResize and AugMix both make several"),
        (
            {"augmix": AugMix(jsd=12), "mixup": Mixup()},
            "augmix.jsd compares views of one image, but mixup mixes several images",
        ),
        ({"manifold_mixup": ManifoldMixup(), "mixup": Mixup()}, "manifold_mixup mixes inside the network"),
        ({"odd": object()}, "augmentation.odd: object is neither a View nor a Mix"),
    ],
)
def test_wrong_combinations_are_refused(parts: dict[str, View | Mix], message: str) -> None:
    with pytest.raises(ConfigError, match=message):
        Augmentation(parts)


def test_mixes_come_after_views_each_in_its_order() -> None:
    parts: dict[str, View | Mix] = {"mixup": Mixup(), "blur": Blur(), "crop_resize": CropResize()}
    augmentation = Augmentation(parts)
    assert augmentation.names == ["blur", "crop_resize", "mixup"]
    assert [*augmentation.views, *augmentation.mixes] == [parts[name] for name in augmentation.names]
    assert not Augmentation({})
