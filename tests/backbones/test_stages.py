"""Test that all stages give the library's own penultimate output, and that each tensor is in one stage."""

from collections.abc import Callable
from typing import Any

import pytest
import timm
import torch
import torchvision
from torch import Tensor, nn

from headstart.backbones import Backbone, WeightsInfo, efficientnet_lite, timm_backbone, torchvision_backbone
from headstart.backbones.cutting import CannotCutError, cut
from headstart.backbones.efficientnet_lite import packaged_weights
from headstart.backbones.torchvision_backbones import CUTS
from headstart.errors import ConfigError

SIZE = 64


def _own_statistics(network: nn.Module) -> None:
    """Give every normalisation different statistics, so that a missing or doubled stage changes the output."""
    for module in network.modules():
        if isinstance(module, nn.BatchNorm2d):
            module.running_mean.uniform_(-0.1, 0.1)
            module.running_var.uniform_(0.5, 1.5)


def _check_parts(backbone: Backbone) -> None:
    assert len(backbone.stage_names) >= 4
    whole = [id(t) for t in [*backbone.parameters(), *backbone.buffers()]]
    parts = [id(t) for s in backbone.stages.values() for t in [*s.parameters(), *s.buffers()]]
    assert len(parts) == len(set(parts))
    assert set(parts) == set(whole)


@pytest.mark.parametrize("name", list(CUTS))
@torch.no_grad()
def test_torchvision_stages_equal_the_penultimate_output(name: str) -> None:
    kwargs: dict = {"image_size": SIZE} if name == "vit_b_16" else {}
    if name == "googlenet":
        kwargs = {"aux_logits": False, "init_weights": False}
    reference = torchvision.models.get_model(name, weights=None, **kwargs).eval()
    _own_statistics(reference)
    seen = {}
    last = [m for m in reference.modules() if isinstance(m, nn.Linear)][-1]
    last.register_forward_pre_hook(lambda _, args: seen.update(features=args[0]))
    x = torch.randn(2, 3, SIZE, SIZE)
    reference(x)

    own = torchvision_backbone(name, weights=None, image_size=SIZE)
    stages, pool = CUTS[name](reference)
    backbone = Backbone(name, stages, pool, own.preprocessing, WeightsInfo()).eval()
    torch.testing.assert_close(backbone(x), seen["features"], rtol=1e-4, atol=1e-5)
    assert own.feature_dim == seen["features"].shape[1]
    assert name not in ("alexnet", "vgg16") or own.feature_dim == 4096
    _check_parts(own)


def _perturbed(network: nn.Module) -> nn.Module:
    """Make every block count: many networks start with blocks that do nothing."""
    generator = torch.Generator().manual_seed(5)
    for parameter in network.parameters():
        if parameter.ndim <= 1:
            parameter.add_(0.2 * torch.rand(parameter.shape, generator=generator) + 0.05)
    return network


# Class tokens, rotary positions, two branches, functional dropout, hybrids: whatever stands between blocks.
TIMM = {
    "resnet18": 96, "mobilenetv3_small_100": 96, "convnext_atto": 96, "vit_tiny_patch16_224": 96, "regnety_002": 96,
    "densenet121": 96, "eva02_tiny_patch14_224": 224, "xcit_nano_12_p16_224": 96, "hrnet_w18_small": 64,
    "ghostnet_050": 96, "repvit_m1": 96, "mobilevitv2_050": 96,
}  # fmt: skip


@pytest.mark.parametrize("name", list(TIMM))
@torch.no_grad()
def test_timm_stages_equal_the_library(name: str) -> None:
    size = TIMM[name]
    backbone = timm_backbone(name, weights=None, image_size=size, seed=3)
    with torch.random.fork_rng():
        torch.manual_seed(3)
        reference = timm.create_model(name, num_classes=0)
    if hasattr(reference, "set_input_size"):
        reference.set_input_size(img_size=(size, size))
    assert sum(p.numel() for p in backbone.parameters()) == sum(p.numel() for p in reference.parameters())
    x = torch.randn(5, 3, size, size, generator=torch.Generator().manual_seed(0))
    _perturbed(reference)
    by_name = {key.split("network.", 1)[1]: value for key, value in backbone.named_parameters()}
    for key, value in reference.named_parameters():
        by_name[key].copy_(value)
    for training in (False, True):
        outputs = []
        for network in (backbone.train(training), reference.train(training)):
            torch.manual_seed(1)
            outputs.append(network(x))
        torch.testing.assert_close(*outputs, rtol=1e-4, atol=1e-4)
    _check_parts(backbone)


SIZES = (32, 64, 224)
SMALL = ["test_efficientnet", "test_resnet", "mobilenetv3_small_100", "convnext_atto", "regnety_002"]
LARGER = [
    "vit_tiny_patch16_224",
    "ghostnet_050",
    "mobilevitv2_050",
    "densenet121",
    "efficientvit_b0",
    "xcit_nano_12_p16_224",
]


def makers() -> list[Any]:
    slow = pytest.mark.slow
    lite = [pytest.param(efficientnet_lite, "efficientnet_lite0", SIZES, id="efficientnet_lite0")]
    timms = [pytest.param(timm_backbone, n, SIZES, id=n) for n in SMALL]
    timms += [pytest.param(timm_backbone, n, (SIZES[0], SIZES[-1]), marks=slow, id=n) for n in LARGER]
    cuts = [
        pytest.param(torchvision_backbone, n, (SIZES[n == "alexnet"], SIZES[-1]), marks=slow, id=f"torchvision {n}")
        for n in CUTS
    ]
    return [*lite, *timms, *cuts]


@pytest.mark.parametrize(("make", "name", "sizes"), makers())
def test_names_of_stages_do_not_depend_on_the_image_size(
    make: Callable[..., Backbone], name: str, sizes: tuple[int, ...]
) -> None:
    found = {tuple(make(name, weights=None, image_size=size).stage_names) for size in sizes}
    assert len(found) == 1, found
    assert make is not efficientnet_lite or found == {("stem", "stage1", "stage2", "stage3", "stage4")}


def test_networks_that_are_no_chain_are_refused() -> None:
    class Split(nn.Module):
        """Two branches that meet only at the end."""

        def __init__(self) -> None:
            super().__init__()
            self.left, self.right = nn.Conv2d(3, 4, 3), nn.Conv2d(3, 4, 3)

        def forward(self, x: Tensor) -> Tensor:
            return (self.left(x).relu() + self.right(x)).mean(dim=(2, 3))

    with pytest.raises(CannotCutError, match="1 places to cut"):
        cut(Split(), 16)


@pytest.mark.parametrize("variant", [0, 1, 2])
@torch.no_grad()
def test_lite_with_packaged_weights_equals_timm(variant: int) -> None:
    name = f"efficientnet_lite{variant}"
    backbone = efficientnet_lite(name, weights="imagenet", image_size=SIZE).eval()
    assert backbone.weights.sha256 is not None
    assert backbone.preprocessing.mean == pytest.approx((127 / 255,) * 3)
    assert backbone.feature_dim == 1280
    _check_parts(backbone)
    # The package's file, put into timm's network by the names that both share: block by block, kind by kind.
    reference = timm.create_model(f"tf_{name}", num_classes=0).eval()
    state = torch.load(packaged_weights(name), map_location="cpu", weights_only=True)
    convolutions = [value for value in state.values() if value.ndim == 4]
    own = [module for module in reference.modules() if isinstance(module, nn.Conv2d)]
    norms = [module for module in reference.modules() if isinstance(module, nn.BatchNorm2d)]
    assert len(convolutions) == len(own) == len(norms)
    for module, value in zip(own, convolutions, strict=True):
        module.weight.copy_(value)
    for part in ("weight", "bias", "running_mean", "running_var"):
        vectors = [v for k, v in state.items() if k.endswith(f".{part}") and v.ndim == 1 and len(v) != 1000]
        for module, value in zip(norms, vectors, strict=True):
            getattr(module, part).copy_(value)
    x = torch.randn(1, 3, SIZE, SIZE)
    torch.testing.assert_close(backbone(x), reference(x), rtol=1e-4, atol=1e-5)


def test_same_seed_same_weights_and_global_state_untouched() -> None:
    before = torch.get_rng_state()
    one, same, other = (torchvision_backbone("resnet18", weights=None, image_size=SIZE, seed=s) for s in (1, 1, 2))
    assert torch.equal(before, torch.get_rng_state())
    weight = [b.stages["stem"][0].weight for b in (one, same, other)]
    assert torch.equal(weight[0], weight[1])
    assert not torch.equal(weight[0], weight[2])


@pytest.mark.parametrize("size", [0, -3])
def test_no_size_is_refused(size: int) -> None:
    with pytest.raises(ConfigError, match="image_size"):
        efficientnet_lite("efficientnet_lite0", weights=None, image_size=size)


def test_a_misspelt_name_gets_the_nearest() -> None:
    with pytest.raises(ConfigError, match="resnet18"):
        timm_backbone("resnet81x", weights=None)
