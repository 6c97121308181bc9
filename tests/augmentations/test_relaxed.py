"""Test relaxed operations: they agree with torchvision's, and gradients reach magnitudes and images."""

import math

import pytest
import torch
from hypothesis import given, settings
from hypothesis import strategies as st
from torch import Tensor
from torchvision.transforms.v2 import InterpolationMode
from torchvision.transforms.v2 import functional as tv

from headstart.augmentations.learned.relaxed import OPERATIONS, RANGES, apply
from headstart.augmentations.operations import apply_steps

BILINEAR = InterpolationMode.BILINEAR


def random_images(count: int = 3, height: int = 20, width: int = 20, seed: int = 0) -> Tensor:
    """Return smooth images in whole grey levels over 255."""
    generator = torch.Generator().manual_seed(seed)
    coarse = torch.rand(count, 3, 6, 6, generator=generator)
    fine = torch.nn.functional.interpolate(coarse, (height, width), mode="bicubic").clamp(0.02, 0.98)
    return (fine * 255).round() / 255


def by_torchvision(name: str, image: Tensor, value: float) -> Tensor:
    """Return one image (3, H, W) after torchvision's operation."""
    height, width = image.shape[-2:]
    still = {"angle": 0.0, "translate": [0, 0], "scale": 1.0, "shear": [0.0, 0.0], "interpolation": BILINEAR}
    corner = {"center": [0.5, 0.5]}  # the middle of its first pixel
    tangent = math.degrees(math.atan(value))
    as_bytes = (image * 255).round().to(torch.uint8)
    if name == "shear_x":
        return tv.affine(image, **(still | corner | {"shear": [tangent, 0.0]}))
    if name == "shear_y":
        return tv.affine(image, **(still | corner | {"shear": [0.0, tangent]}))
    if name == "translate_x":
        return tv.affine(image, **(still | {"translate": [value * width, 0]}))
    if name == "translate_y":
        return tv.affine(image, **(still | {"translate": [0, value * height]}))
    return {
        "rotate": lambda: tv.rotate(image, value, BILINEAR),
        "brightness": lambda: tv.adjust_brightness(image, value),
        "contrast": lambda: tv.adjust_contrast(image, value),
        "color": lambda: tv.adjust_saturation(image, value),
        "sharpness": lambda: tv.adjust_sharpness(image, value),
        "posterize": lambda: tv.posterize(as_bytes, round(value)) / 255,
        "solarize": lambda: tv.solarize(as_bytes, min(value, 255)) / 255,  # no image here has more than 250
        "autocontrast": lambda: tv.autocontrast(image),
        "equalize": lambda: tv.equalize(as_bytes) / 255,
        "invert": lambda: tv.invert(image),
        "identity": lambda: image,
    }[name]()


@pytest.mark.parametrize("name", OPERATIONS)
@settings(max_examples=12, deadline=None)
@given(unit=st.floats(0, 1), seed=st.integers(0, 99), sides=st.tuples(st.integers(8, 24), st.integers(8, 24)))
def test_as_torchvision_does(name: str, unit: float, seed: int, sides: tuple[int, int]) -> None:
    images = random_images(2, *sides, seed=seed)
    span = RANGES.get(name)
    values = [0.0, 0.0] if span is None else [float(span.physical(torch.tensor(u))) for u in (unit, 1 - unit)]
    if span is not None and span.signed:
        values[1] = -values[1]
    if name.startswith("translate"):  # torchvision moves by whole pixels
        side = sides[1] if name.endswith("x") else sides[0]
        values = [round(value * side) / side for value in values]
    if name == "posterize":
        values = [round(value) for value in values]
    found = apply(name, images, torch.tensor(values))
    for image, value, ours in zip(images, values, found, strict=True):
        torch.testing.assert_close(ours, by_torchvision(name, image, value), atol=2e-4, rtol=0)


@pytest.mark.parametrize("name", RANGES)
def test_a_gradient_reaches_the_magnitude_of_every_image(name: str) -> None:
    images = random_images()
    span = RANGES[name]
    magnitude = span.physical(torch.tensor([0.15, 0.4, 0.8])).requires_grad_()
    target = torch.linspace(0, 1, images.numel()).view_as(images)
    ((apply(name, images, magnitude) - target) ** 2).sum().backward()
    assert magnitude.grad is not None
    assert magnitude.grad.isfinite().all()
    assert (magnitude.grad != 0).all()


@pytest.mark.parametrize("name", OPERATIONS)
def test_a_gradient_reaches_the_image(name: str) -> None:
    images = random_images().requires_grad_()
    span = RANGES.get(name)
    magnitude = torch.full((3,), 0.3)
    apply(name, images, magnitude if span is None else span.physical(magnitude)).square().sum().backward()
    assert images.grad is not None
    assert images.grad.isfinite().all()
    assert (images.grad != 0).float().mean() > 0.5


@pytest.mark.parametrize("name", ["rotate", "shear_x", "translate_y", "brightness", "contrast", "color", "sharpness"])
def test_the_gradient_is_the_slope(name: str) -> None:
    images = random_images(1).double()
    at = RANGES[name].physical(torch.tensor([0.33], dtype=torch.float64)).requires_grad_()
    weights = torch.linspace(-1, 1, images.numel(), dtype=torch.float64).view_as(images)

    def total(value: Tensor) -> Tensor:
        return (apply(name, images, value) * weights).sum()

    total(at).backward()
    step = 1e-6
    slope = (total(at.detach() + step) - total(at.detach() - step)) / (2 * step)
    assert at.grad is not None
    assert float(at.grad) == pytest.approx(float(slope), rel=1e-4)


@pytest.mark.parametrize(("name", "darker"), [("posterize", 4.0), ("solarize", 40.0)])
def test_a_straight_through_gradient_has_the_sign_of_the_change(name: str, darker: float) -> None:
    images = random_images(8) * 0.9 + 0.1
    at = torch.full((8,), {"posterize": 5.6, "solarize": 120.0}[name], requires_grad=True)
    apply(name, images, at).mean().backward()
    moved = apply(name, images, torch.full((8,), darker)).mean() - apply(name, images, at.detach()).mean()
    assert at.grad is not None
    assert (at.grad.sum() * (darker - at[0].detach()) > 0) == (moved > 0)


def test_each_image_has_its_own_magnitude() -> None:
    images = random_images(4)
    values = torch.tensor([0.2, 0.9, 1.4, 1.0])
    together = apply("brightness", images, values)
    for number in range(4):
        alone = apply("brightness", images[number : number + 1], values[number : number + 1])
        assert torch.equal(together[number : number + 1], alone)
    assert torch.equal(together[3], images[3])


@pytest.mark.parametrize("name", OPERATIONS)
def test_relaxed_operations_equal_those_of_training(name: str) -> None:
    images = random_images(4, 24, 20)
    span = RANGES.get(name)
    values = [0.0] * 4 if span is None else span.physical(torch.tensor([0.05, 0.3, 0.7, 0.95])).tolist()
    if span is not None and span.signed:
        values[1] = -values[1]
    if name.startswith("translate"):  # in whole pixels, once a policy is used
        side = 20 if name.endswith("x") else 24
        values = [round(value * side) / side for value in values]
    values = [float(round(value)) for value in values] if name == "posterize" else values
    relaxed = apply(name, images, torch.tensor(values)) * 255
    for image, value, ours in zip(images, values, relaxed, strict=True):
        pixel_rows = (image * 255).round().byte().permute(1, 2, 0).contiguous().numpy()
        carried_out = torch.from_numpy(apply_steps(pixel_rows, [(name, value)])).permute(2, 0, 1)
        assert (carried_out - ours).abs().mean() < 1, (name, value)
