"""Test the anatomy of networks against published figures and against gradients."""

import copy
import functools
from collections.abc import Iterator
from dataclasses import replace
from typing import Any

import pytest
import torch
import torchvision
from conftest import PREPROCESSING, toy_backbone
from hypothesis import given, settings
from hypothesis import strategies as st
from torch import Tensor, nn

from headstart.backbones import Backbone, WeightsInfo, efficientnet_lite, timm_backbone, torchvision_backbone
from headstart.backbones.anatomy import StageAnatomy, anatomy
from headstart.backbones.torchvision_backbones import CUTS

# Araujo, Norris & Sim 2019, where they measure the same network: alexnet, vgg16.
VGG16 = [
    # stage, output, stride, receptive field, parameters, multiply-adds
    ("conv1", (64, 112, 112), 2, 6, 38_720, 1.94e9),
    ("conv2", (128, 56, 56), 4, 16, 221_440, 2.77e9),
    ("conv3", (256, 28, 28), 8, 44, 1_475_328, 4.62e9),
    ("conv4", (512, 14, 14), 16, 100, 5_899_776, 4.62e9),
    ("conv5", (512, 7, 7), 32, 212, 7_079_424, 1.39e9),
    ("fc6", (4096,), None, None, 102_764_544, 0.103e9),
    ("fc7", (4096,), None, None, 16_781_312, 0.0168e9),
]
FIELDS = {
    "alexnet": [19, 67, 99, 131, 195, None, None],
    "resnet50": [11, 35, 91, 267, 427, None],
    "efficientnet_lite0": [7, 19, 67, 339, 851, None],
    "efficientnet_b0": [7, 19, 67, 339, 851, None],  # the same network with squeeze-and-excitation
    "vit_b_16": [16, None, None, None, None, None],
}


def small(*stages: nn.Module, size: int = 97) -> Backbone:
    pool = nn.Sequential(nn.AdaptiveAvgPool2d(1), nn.Flatten())
    named = [(f"stage{number}", stage) for number, stage in enumerate(stages)]
    return Backbone("small", named, pool, replace(PREPROCESSING, image_size=size), WeightsInfo())


@functools.cache
def make(name: str) -> Backbone:
    return (efficientnet_lite if name.startswith("efficientnet_lite") else torchvision_backbone)(name, weights=None)


@pytest.fixture(scope="module", autouse=True)
def _free_networks() -> Iterator[None]:
    yield
    make.cache_clear()


def totals(backbone: Backbone, parts: list[StageAnatomy], classes: int = 0) -> tuple[int, float]:
    width = backbone.feature_dim
    parameters = sum(part.parameters for part in parts) + classes * (width + 1)
    return parameters, sum(part.multiply_adds for part in parts) + classes * width


def test_vgg16_is_the_published_one() -> None:
    backbone = make("vgg16")
    parts = anatomy(backbone)
    for part, (name, output, stride, field, parameters, multiply_adds) in zip(parts, VGG16, strict=True):
        assert (part.name, part.output, part.stride, part.receptive_field) == (name, output, stride, field)
        assert part.parameters == parameters
        assert part.multiply_adds == pytest.approx(multiply_adds, rel=0.005)
    assert totals(backbone, parts)[0] == 134_260_544
    assert totals(backbone, parts, classes=1000) == (138_357_544, pytest.approx(15.5e9, rel=0.003))


def test_resnet50_is_the_published_one() -> None:
    backbone = copy.deepcopy(make("resnet50"))
    parts = anatomy(backbone)
    assert totals(backbone, parts, classes=1000) == (25_557_032, pytest.approx(4.09e9, rel=0.001))
    assert [part.stride for part in parts] == [4, 4, 8, 16, 32, None]
    assert parts[-1] == StageAnatomy("pooling", (2048,), None, None, 0, 0)
    # The paper's network has the stride in the first 1 x 1 of a stage, torchvision's in the 3 x 3.
    assert parts[-2].receptive_field == 427
    for number in (2, 3, 4):
        block: Any = backbone.stages[f"stage{number}"][0]  # type: ignore[index]
        block.conv1.stride, block.conv2.stride = block.conv2.stride, block.conv1.stride
    assert anatomy(backbone)[-2].receptive_field == 483


@pytest.mark.parametrize("name", [name for name in FIELDS if name != "resnet50"])
def test_receptive_fields(name: str) -> None:
    assert [part.receptive_field for part in anatomy(make(name))] == FIELDS[name]


@pytest.mark.slow
@pytest.mark.parametrize("name", list(CUTS))
def test_the_librarys_own_figures(name: str) -> None:
    meta = torchvision.models.get_model_weights(name).DEFAULT.meta
    backbone = make(name)
    parameters, multiply_adds = totals(backbone, anatomy(backbone), classes=1000)
    assert parameters == meta["num_params"]
    assert multiply_adds / 1e9 == pytest.approx(meta["_ops"], abs=0.0006)


# --- against brute force: which pixels have a gradient


def seen(backbone: Backbone, stop: int, unit: tuple[int, ...]) -> tuple[int, int]:
    """Return the first and last column of the image that a unit of a stage's map depends on."""
    network = copy.deepcopy(backbone).double().eval()
    for module in list(network.modules()):
        for name, child in module.named_children():
            if isinstance(child, nn.MaxPool2d):  # whose gradient goes to one pixel of its window alone
                setattr(module, name, nn.AvgPool2d(child.kernel_size, child.stride, child.padding, child.ceil_mode))
    for parameter in network.parameters():
        parameter.data.abs_()
    size = backbone.preprocessing.image_size
    x = torch.rand(1, 3, size, size, dtype=torch.double, requires_grad=True)
    y = network.forward_stages(x, 0, stop)
    (y[0][unit] if y.shape[1] == y.shape[2] else y[0, :, unit[0], unit[1]]).sum().backward()
    assert x.grad is not None
    columns = x.grad.abs().sum((0, 1, 2)).nonzero().flatten()
    return int(columns[0]), int(columns[-1])


def check_by_gradients(backbone: Backbone) -> None:
    for stop, part in enumerate(anatomy(backbone)[:-1], start=1):
        middle = part.output[1] // 2, part.output[2] // 2
        first, last = seen(backbone, stop, middle)
        assert first > 0, "too small an image to tell"
        assert last < backbone.preprocessing.image_size - 1
        assert part.receptive_field == last - first + 1
        assert part.stride == first - seen(backbone, stop, (middle[0], middle[1] - 1))[0]


class Skip(nn.Module):
    """Two branches, added or side by side."""

    def __init__(self, one: nn.Module, other: nn.Module, side_by_side: bool = False) -> None:
        super().__init__()
        self.one, self.other, self.side_by_side = one, other, side_by_side

    def forward(self, x: Tensor) -> Tensor:
        one, other = self.one(x), self.other(x)
        return torch.cat([one, other], dim=1) if self.side_by_side else one.add_(other)


class Gate(nn.Module):
    """Squeeze-and-excitation without its gradient."""

    def forward(self, x: Tensor) -> Tensor:
        return x * x.mean((2, 3), keepdim=True).sigmoid().detach()


class PatchMerging(nn.Module):
    """2 x 2 neighbours become channels, by reshaping only; then channels last."""

    def forward(self, x: Tensor) -> Tensor:
        n, c, h, w = x.shape
        x = x.reshape(n, c, h // 2, 2, w // 2, 2).permute(0, 2, 4, 1, 3, 5)
        return nn.functional.gelu(x.flatten(3))


def conv(width: int, kernel: int, **kwargs: Any) -> nn.Module:
    return nn.Conv2d(width, 4, kernel, **kwargs)


NETWORKS = {
    "skip, dilation, pooling": [
        nn.Sequential(conv(3, 3, stride=2), nn.BatchNorm2d(4), nn.ReLU(inplace=True)),
        Skip(conv(4, 3, padding=2, dilation=2), nn.Identity()),
        nn.Sequential(nn.MaxPool2d(3, 2, 1, ceil_mode=True), conv(4, 5, padding=2)),
    ],
    "branches of two widths": [
        Skip(conv(3, 3, padding=1), conv(3, 7, padding=3), side_by_side=True),
        nn.Sequential(nn.Conv2d(8, 8, 3, groups=8, stride=2, padding=1), nn.AvgPool2d(2)),
    ],
    "gate, explicit padding": [
        nn.Sequential(conv(3, 3), Gate()),
        nn.Sequential(nn.ZeroPad2d((0, 1, 0, 1)), conv(4, 2, stride=2), Gate()),
    ],
    "narrow kernels": [nn.Sequential(conv(3, 3), conv(4, 1), conv(4, 3, stride=3))],  # gaps between what they see
}


@pytest.mark.parametrize("network", list(NETWORKS))
def test_fields_are_where_gradients_are(network: str) -> None:
    check_by_gradients(small(*NETWORKS[network]))


LAYERS = st.tuples(
    st.sampled_from([1, 2, 3, 5]), st.integers(1, 2), st.integers(1, 2), st.integers(0, 2), st.booleans()
)


@settings(max_examples=25, deadline=None)
@given(st.lists(LAYERS, min_size=1, max_size=3))
def test_fields_of_any_chain(layers: list[tuple[int, int, int, int, bool]]) -> None:
    stages: list[nn.Module] = []
    for kernel, stride, dilation, padding, pooled in layers:
        width = 4 if stages else 3
        if pooled:
            stages.append(nn.Sequential(conv(width, 1), nn.MaxPool2d(kernel, stride, min(padding, kernel // 2))))
        else:
            stages.append(conv(width, kernel, stride=stride, dilation=dilation, padding=padding))
    backbone = small(*stages, size=129)
    check_fields_by_the_formula(backbone, layers)
    check_by_gradients(backbone)


def check_fields_by_the_formula(backbone: Backbone, layers: list[tuple[int, int, int, int, bool]]) -> None:
    field, jump = 1, 1
    for part, (kernel, stride, dilation, _, pooled) in zip(anatomy(backbone), layers, strict=False):
        field += (kernel - 1) * (1 if pooled else dilation) * jump
        jump *= stride
        assert (part.receptive_field, part.stride) == (field, jump)


def test_maps_with_channels_last() -> None:
    class Pool(nn.Module):
        def forward(self, x: Tensor) -> Tensor:
            return x.mean((1, 2))

    stages = [("one", conv(3, 3, padding=1)), ("two", nn.Sequential(PatchMerging(), nn.LayerNorm(16)))]
    stages.append(("three", nn.Linear(16, 8)))
    backbone = Backbone("small", stages, Pool(), replace(PREPROCESSING, image_size=32), WeightsInfo())
    parts = anatomy(backbone)
    assert [(part.output, part.stride, part.receptive_field) for part in parts] == [
        ((4, 32, 32), 1, 3),
        ((16, 16, 16), 2, 4),
        ((16, 16, 8), 2, 4),
        ((8,), None, None),
    ]


class Shifted(nn.Module):
    """Add a shifted copy of the map to all of it, or to a part of it in place."""

    def __init__(self, everywhere: bool) -> None:
        super().__init__()
        self.everywhere = everywhere

    def forward(self, x: Tensor) -> Tensor:
        if self.everywhere:
            return x + x.mean((2, 3), keepdim=True)
        x[:, 1:] = x[:, 1:].flip(3)
        return x


def test_the_whole_image_and_statistics() -> None:
    stages = [nn.Sequential(conv(3, 3), nn.GroupNorm(2, 4)), Shifted(everywhere=True), conv(4, 3)]
    assert [part.receptive_field for part in anatomy(small(*stages))] == [3, None, None, None]
    assert [part.stride for part in anatomy(small(*stages))] == [1, 1, 1, None]
    assert anatomy(small(conv(3, 3), Shifted(everywhere=False)))[1].receptive_field is None  # not known to be less
    assert anatomy(small(nn.Sequential(conv(3, 3), nn.ConvTranspose2d(4, 4, 2, 2))))[0].receptive_field is None


@pytest.mark.parametrize("size", [32, 33, 224])
def test_fields_do_not_depend_on_the_size_of_the_image(size: int) -> None:
    parts = anatomy(torchvision_backbone("resnet18", weights=None, image_size=size))
    assert [part.receptive_field for part in parts] == [11, 43, 99, 211, 435, None]
    assert [part.stride for part in parts] == [4, 4, 8, 16, 32, None]


def test_windows_of_attention() -> None:
    backbone = torchvision_backbone("swin_t", weights=None, image_size=224)
    parts = anatomy(backbone)
    first, last = seen(backbone, 2, (28, 28))
    assert parts[1].receptive_field == last - first + 1 == 56  # two rows of windows of 7 patches of 4 pixels
    assert [part.receptive_field for part in parts[3:]] == [None] * 3
    assert [part.stride for part in parts] == [4, 4, 8, 16, 32, None]


def test_attention_is_counted() -> None:
    block = anatomy(torchvision_backbone("vit_b_16", weights=None, image_size=32))[1]
    tokens, width, layers = 5, 768, 3
    each = tokens * 12 * width**2 + 2 * tokens**2 * width  # 4 projections, 2 layers of 4 x width; scores, sums
    assert block.multiply_adds == layers * each


def test_timm_networks_have_an_anatomy() -> None:
    parts = anatomy(timm_backbone("convnext_atto", weights=None, image_size=64))
    assert all(part.output for part in parts)
    assert parts[-1].output == (320,)


def test_the_network_is_left_as_it_was() -> None:
    backbone = toy_backbone()
    backbone.train()
    backbone.stages["stage0"].eval()
    modes = {name: module.training for name, module in backbone.named_modules()}
    before = {name: tensor.clone() for name, tensor in backbone.state_dict().items()}
    fast = torch.backends.mha.get_fastpath_enabled()
    anatomy(backbone)
    assert {name: module.training for name, module in backbone.named_modules()} == modes
    assert all(torch.equal(tensor, before[name]) for name, tensor in backbone.state_dict().items())
    assert not any(module._forward_hooks or module._forward_pre_hooks for module in backbone.modules())
    assert torch.backends.mha.get_fastpath_enabled() == fast
    assert all(parameter.requires_grad for parameter in backbone.parameters())
