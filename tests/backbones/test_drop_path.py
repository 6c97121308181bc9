"""Test stochastic depth: it acts in training only, and its rate rises with depth."""

from functools import partial

import pytest
import torch
from conftest import make_strategy
from timm.layers import DropPath
from torch import Tensor, nn
from torchvision.ops import StochasticDepth

from headstart.backbones import Backbone, efficientnet_lite, timm_backbone, torchvision_backbone
from headstart.errors import ConfigError
from headstart.settings.configs import choices, composed
from headstart.strategies import FinetuneUpper

SIZE = 64
NETWORKS = {
    "efficientnet_lite0": efficientnet_lite,
    "efficientnet_b0": torchvision_backbone,
    "convnext_tiny": torchvision_backbone,
    "swin_t": torchvision_backbone,
    "convnext_atto": timm_backbone,
    "swin_s3_tiny_224": timm_backbone,  # has a rate of its own where none is asked for
}
with_each_network = pytest.mark.parametrize("name", list(NETWORKS))


def make(name: str, **kwargs: float) -> Backbone:
    return NETWORKS[name](name, weights=None, image_size=SIZE, **kwargs)


def rates(network: nn.Module) -> list[float]:
    kinds = (DropPath, StochasticDepth)
    return [float(getattr(m, "drop_prob", getattr(m, "p", 0))) for m in network.modules() if isinstance(m, kinds)]


@torch.no_grad()
def outcome(backbone: Backbone, seed: int, training: bool) -> Tensor:
    """Return features of four images; the seed decides the noise only."""
    x = torch.randn(4, 3, SIZE, SIZE, generator=torch.Generator().manual_seed(1))
    backbone.train(training)
    torch.manual_seed(seed)
    return backbone(x)


def perturbed(backbone: Backbone) -> Backbone:
    """Return a network whose blocks all count: blocks that start as the identity would hide that they are dropped."""
    with torch.no_grad():
        for name, parameter in backbone.named_parameters():
            if parameter.ndim == 1 or "layer_scale" in name:
                parameter.fill_(0.5)
    return backbone


@with_each_network
def test_it_acts_in_training_only(name: str) -> None:
    plain, dropping = perturbed(make(name, drop_path=0.0)), perturbed(make(name, drop_path=0.5))
    for one, other in zip(plain.parameters(), dropping.parameters(), strict=True):
        assert torch.equal(one, other)  # no draw of the initialisation is moved
    assert torch.equal(outcome(dropping, 0, training=False), outcome(plain, 1, training=False))
    assert not torch.allclose(outcome(dropping, 0, training=True), outcome(dropping, 1, training=True), rtol=1e-3)
    assert torch.equal(outcome(dropping, 0, training=True), outcome(dropping, 0, training=True))


@with_each_network
def test_it_can_be_turned_off(name: str) -> None:
    backbone = perturbed(make(name, drop_path=0.0))
    assert not any(rates(backbone))
    assert torch.equal(outcome(backbone, 0, training=True), outcome(backbone, 1, training=True))


@with_each_network
def test_it_rises_with_depth(name: str) -> None:
    found = rates(make(name, drop_path=0.4))
    assert len(set(found)) >= 10
    assert found == sorted(found)
    assert 0 <= found[0] < 0.1
    assert 0.36 < found[-1] <= 0.4 + 1e-6
    steps = torch.tensor(sorted({round(rate, 6) for rate in found})).diff()
    assert steps.max() < 3.01 * steps.min()  # in a line; blocks without a branch to drop count as blocks


def test_the_line_is_that_of_the_paper() -> None:
    assert rates(make("convnext_tiny", drop_path=0.34)) == pytest.approx([0.34 * block / 17 for block in range(18)])


def test_the_default_is_the_librarys_own() -> None:
    assert max(rates(make("swin_t"))) == pytest.approx(0.2)
    assert max(rates(make("convnext_tiny"))) == pytest.approx(0.1)
    backbone = make("efficientnet_lite0")
    assert repr(backbone) == repr(make("efficientnet_lite0", drop_path=0.0))
    assert not any(isinstance(module, DropPath) for module in backbone.modules())


def test_frozen_stages_drop_nothing() -> None:
    strategy = make_strategy(FinetuneUpper, backbone=perturbed(make("efficientnet_lite0", drop_path=0.5)), stages=2)
    strategy.train()
    backbone, x = strategy.backbone, torch.rand(4, 3, SIZE, SIZE)
    lower = [backbone.forward_stages(x, 0, strategy.plan.prefix_end) for _ in range(2)]
    assert strategy.plan.prefix_end == len(backbone.stages) - 2
    assert torch.equal(*lower)
    assert not torch.equal(*[backbone(lower[0], strategy.plan.prefix_end) for _ in range(2)])


@pytest.mark.parametrize("rate", [-0.1, 1, 1.5, True, "much"])
@pytest.mark.parametrize("name", ["efficientnet_lite0", "convnext_tiny", "convnext_atto"])
def test_a_rate_outside_its_range_is_refused(name: str, rate: float) -> None:
    with pytest.raises(ConfigError, match=r"backbone\.drop_path=.*: expected a number of at least 0 and below 1"):
        make(name, drop_path=rate)


@pytest.mark.parametrize(
    "build",
    [
        partial(torchvision_backbone, "resnet18", weights=None),
        partial(timm_backbone, "vgg11", weights=None),
        partial(timm_backbone, "dla34", weights=None),
    ],
)
def test_a_network_without_it_is_refused(build: partial[Backbone]) -> None:
    with pytest.raises(
        ConfigError, match=r"drop_path=0\.1: \w+ has no branches that can be dropped; set it to 0 or null"
    ):
        build(image_size=SIZE, drop_path=0.1)


def test_the_configs_say_which_networks_have_it() -> None:
    backbones = {name: composed([f"backbone={name}"])[0].backbone for name in choices("backbone")}
    named = {name for name, backbone in backbones.items() if "drop_path" in backbone}
    lites = {f"efficientnet_lite{number}" for number in range(3)}
    assert named == lites | {"timm", "efficientnet_b0", "convnext_tiny", "swin_t"}
    assert all(backbones[name].drop_path is None for name in named)
