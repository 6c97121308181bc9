"""Test what a data set gives, how it fits the weights, and that nothing else assumes RGB images of 8 bits."""

import ast
from dataclasses import replace

import numpy as np
import pytest
import torch
from conftest import PREPROCESSING, make_strategy, toy_backbone
from test_house import SOURCE
from torchvision.transforms.functional import normalize

from headstart.errors import ConfigError
from headstart.inputs.signature import RGB, reconcile
from headstart.strategies.head_only import HeadOnly

IMAGENET = replace(PREPROCESSING, mean=(0.485, 0.456, 0.406), std=(0.229, 0.224, 0.225))
# Rooms that make or distort RGB images, and modules that show images to people or read memory byte by byte.
ROOMS = ("inputs", "augmentations", "robustness", "figures", "reports", "trackers", "exporting")
MODULES = (
    "data/embedded.py",
    "data/torchvision_sets.py",
    "training/batch_images.py",
    "pretraining/autoencoder.py",  # drawn images
    "pretraining/objective.py",
    "analysis/augmented_images.py",
    "analysis/audit/pooled.py",  # thumbnails
    "api/predicting.py",  # what a user may give
    "analysis/explain/grad_cam.py",
    "analysis/explain/mistakes.py",
    "records/curves.py",
    "records/pixel_files.py",  # label images as PNG
    "tasks/segmentation.py",  # label images in one byte a pixel
    "records/robustness_file.py",  # bits
    "backbones/weights.py",  # bytes of tensors
    "features/rows.py",  # bytes of rows
)
MAKERS = ("zeros", "ones", "empty", "full", "rand", "randn", "new_zeros")


def images(count: int = 2) -> torch.Tensor:
    return torch.from_numpy(np.random.default_rng(0).integers(0, 256, (count, 3, 8, 8), dtype=np.uint8))


def test_rgb_on_rgb_is_the_normalisation_of_torchvision():
    scale, shift, note, changed = reconcile(RGB, IMAGENET)
    expected = normalize(images() / 255, IMAGENET.mean, IMAGENET.std)
    torch.testing.assert_close(images() * scale + shift, expected)
    std = torch.tensor(IMAGENET.std).view(1, 3, 1, 1) * 255  # results of earlier versions depend on the last bit
    mean = torch.tensor(IMAGENET.mean).view(1, 3, 1, 1) * 255
    assert torch.equal(scale, 1 / std)
    assert torch.equal(shift, -mean / std)
    assert not changed
    assert "first layer unchanged" in note


@pytest.mark.parametrize(("low", "high"), [(0.0, 1.0), (-1.0, 1.0), (0.0, 65535.0)])
def test_another_range_of_values_gives_the_same_inputs(low, high):
    scale, shift, note, changed = reconcile(replace(RGB, low=low, high=high, dtype=torch.float32), IMAGENET)
    stored = images() / 255 * (high - low) + low
    torch.testing.assert_close(stored * scale + shift, normalize(images() / 255, IMAGENET.mean, IMAGENET.std))
    assert changed
    assert f"values from {low:g} to {high:g}" in note
    drawn = replace(RGB, low=low, high=high).for_display(stored.permute(0, 2, 3, 1).numpy())
    assert (drawn == images().permute(0, 2, 3, 1).numpy()).all()


def test_each_channel_has_its_own_scale():
    five = replace(PREPROCESSING, mean=(0.0, 0.1, 0.2, 0.3, 0.4), std=(0.1, 0.2, 0.3, 0.4, 0.5))
    scale, shift, _, _ = reconcile(replace(RGB, channels=5, high=1.0), five)
    values = torch.tensor(five.mean).view(1, 5, 1, 1)
    torch.testing.assert_close(values * scale + shift, torch.zeros(1, 5, 1, 1))
    torch.testing.assert_close(1 / scale.flatten(), torch.tensor(five.std))


@pytest.mark.parametrize("channels", [1, 2, 5, 7])
def test_items_whose_channels_are_alike_give_the_same_features_for_any_number_of_channels(channels):
    alike = torch.rand(2, 1, 16, 16)
    expected = make_strategy(HeadOnly, backbone=toy_backbone()).eval().features(alike.expand(-1, 3, -1, -1))
    backbone = toy_backbone()
    backbone.take_inputs(replace(RGB, channels=channels))
    strategy = make_strategy(HeadOnly, backbone=backbone).eval()
    torch.testing.assert_close(strategy.features(alike.expand(-1, channels, -1, -1)), expected)
    assert f"first layer from 3 to {channels} channels" in strategy.normalisation.note


def test_a_network_without_a_first_convolution_keeps_its_channels():
    backbone = toy_backbone()
    backbone.preprocessing = replace(backbone.preprocessing, mean=(0.5,) * 9, std=(0.5,) * 9)
    with pytest.raises(ConfigError, match=r"has no first convolution for items of 5 channels"):
        backbone.take_inputs(replace(RGB, channels=5))


def test_shapes():
    five = replace(RGB, channels=5, dtype=torch.float32)
    assert five.stored_shape(8) == (8, 8, 5)
    assert (five.stored(2, 8).shape, five.example(2, 8).shape) == ((2, 8, 8, 5), (2, 5, 8, 8))
    assert (five.pixel_bytes, RGB.pixel_bytes) == (20, 3)
    assert (RGB.example(1, 4).dtype, RGB.example(1, 4, torch.float64).dtype) == (torch.uint8, torch.float64)


def assumptions(text: str) -> list[str]:
    """Return the places in a source text that make images of three channels or of 8 bits."""
    found = []
    for node in ast.walk(ast.parse(text)):
        if isinstance(node, ast.Attribute) and node.attr == "uint8":
            found.append(f"line {node.lineno}: {ast.unparse(node)}")
        if isinstance(node, ast.Call) and getattr(node.func, "attr", getattr(node.func, "id", "")) in MAKERS:
            shape = node.args[0].elts if node.args and isinstance(node.args[0], ast.Tuple | ast.List) else node.args
            if len(shape) > 2 and any(isinstance(size, ast.Constant) and size.value == 3 for size in shape):
                found.append(f"line {node.lineno}: {ast.unparse(node)}")
    return found


@pytest.mark.parametrize("text", ["torch.zeros(1, 3, s, s)", "np.empty((n, s, s, 3))", "x: NDArray[np.uint8]"])
def test_an_assumption_is_found(text):
    assert assumptions(text)


def test_no_other_module_assumes_rgb_images_of_8_bits():
    found = {}
    for path in SOURCE.rglob("*.py"):
        name = path.relative_to(SOURCE).as_posix()
        if name.split("/")[0] not in ROOMS and name not in MODULES and (places := assumptions(path.read_text())):
            found[name] = places
    assert not found
    assert all(assumptions((SOURCE / name).read_text()) for name in MODULES), "no longer an exception"
