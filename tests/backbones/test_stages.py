"""Stages compose to the library's own penultimate output; each tensor lives in one stage."""

import pytest
import timm
import torch
import torchvision
from torch import nn

from headstart.backbones import Backbone, WeightsInfo, efficientnet_lite, timm_backbone, torchvision_backbone
from headstart.backbones.torchvision_backbones import CUTS
from headstart.errors import ConfigError

SIZE = 64


def _own_statistics(network: nn.Module) -> None:
    """Give every normalisation its own statistics, so that a stage left out or doubled shows."""
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

    own = torchvision_backbone(name, image_size=SIZE)
    stages, pool = CUTS[name](reference)
    backbone = Backbone(name, stages, pool, own.preprocessing, WeightsInfo()).eval()
    torch.testing.assert_close(backbone(x), seen["features"], rtol=1e-4, atol=1e-5)
    assert own.feature_dim == seen["features"].shape[1]
    assert name not in ("alexnet", "vgg16") or own.feature_dim == 4096
    _check_parts(own)


@pytest.mark.parametrize(
    "name",
    ["resnet18", "mobilenetv3_small_100", "convnext_atto", "vit_tiny_patch16_224", "regnety_002", "densenet121"],
)
@torch.no_grad()
def test_timm_stages_equal_the_library(name: str) -> None:
    backbone = timm_backbone(name, seed=3).eval()
    with torch.random.fork_rng():
        torch.manual_seed(3)
        reference = timm.create_model(name, num_classes=0).eval()
    x = torch.randn(2, 3, 224, 224)
    torch.testing.assert_close(backbone(x), reference(x), rtol=1e-4, atol=1e-5)
    _check_parts(backbone)


@pytest.mark.parametrize("variant", [0, 1, 2])
@torch.no_grad()
def test_lite_with_packaged_weights_equals_timm(variant: int) -> None:
    name = f"efficientnet_lite{variant}"
    backbone = efficientnet_lite(name, weights="imagenet", image_size=SIZE).eval()
    assert backbone.weights.sha256 is not None
    assert backbone.preprocessing.mean == pytest.approx((127 / 255,) * 3)
    assert backbone.feature_dim == 1280
    _check_parts(backbone)
    random = efficientnet_lite(name, image_size=SIZE).eval()
    x = torch.randn(1, 3, SIZE, SIZE)
    assert not torch.allclose(random(x), backbone(x))


def test_same_seed_same_weights_and_global_state_untouched() -> None:
    before = torch.get_rng_state()
    one, same, other = (torchvision_backbone("resnet18", image_size=SIZE, seed=s) for s in (1, 1, 2))
    assert torch.equal(before, torch.get_rng_state())
    weight = [b.stages["stem"][0].weight for b in (one, same, other)]
    assert torch.equal(weight[0], weight[1])
    assert not torch.equal(weight[0], weight[2])


@pytest.mark.parametrize("size", [0, -3])
def test_no_size_is_refused(size: int) -> None:
    with pytest.raises(ConfigError, match="image_size"):
        efficientnet_lite("efficientnet_lite0", image_size=size)


def test_a_misspelt_name_gets_the_nearest() -> None:
    with pytest.raises(ConfigError, match="resnet18"):
        timm_backbone("resnet81x")
