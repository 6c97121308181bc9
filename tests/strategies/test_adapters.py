"""Test adapters: their places, their start, and which tensors change."""

import copy
from collections.abc import Callable
from functools import partial
from pathlib import Path

import pytest
import torch
from conftest import PREPROCESSING, make_strategy, make_trainer, toy_backbone
from torch import Tensor, nn

from headstart.backbones import Backbone, WeightsInfo, timm_backbone, torchvision_backbone
from headstart.backbones.adapter import AdaptedBlock
from headstart.data import Digits
from headstart.errors import ConfigError
from headstart.strategies import Adapters, FinetuneAll, Strategy
from headstart.training.checkpoints import keep_network

NETWORKS: dict[str, tuple[Callable[[], Backbone], str, int]] = {
    # the network, a stage, how many adapters it gets
    "toy": (toy_backbone, "stage2", 1),  # no block: one behind the stage
    "resnet18": (partial(torchvision_backbone, "resnet18", weights=None, image_size=32), "stage1", 2),
    "efficientnet_b0": (partial(torchvision_backbone, "efficientnet_b0", weights=None, image_size=32), "stage1", 2),
    "vit_b_16": (partial(torchvision_backbone, "vit_b_16", weights=None, image_size=32), "stage4", 3),
    "swin_t": (
        partial(torchvision_backbone, "swin_t", weights=None, image_size=64),
        "stage2",
        3,
    ),  # with the merging
    "timm convolutions": (partial(timm_backbone, "test_efficientnet", weights=None, image_size=64), "stage1", 1),
    "timm stem": (
        partial(timm_backbone, "tf_efficientnet_lite0", weights=None, image_size=32),
        "stem",
        1,
    ),
    "timm tokens": (partial(timm_backbone, "test_vit", weights=None, image_size=160), "stage1", 1),
}


def random_images(strategy: Strategy) -> Tensor:
    size = strategy.backbone.preprocessing.image_size
    rng = torch.Generator().manual_seed(0)
    return torch.randint(0, 256, (2, 3, size, size), dtype=torch.uint8, generator=rng)


def trained(strategy: Strategy) -> dict[str, nn.Parameter]:
    return {name: p for name, p in strategy.backbone.named_parameters() if p.requires_grad}


@pytest.mark.parametrize("name", list(NETWORKS))
def test_the_network_starts_as_it_was_and_every_adapter_acts(name: str) -> None:
    make, stage, count = NETWORKS[name]
    backbone = make()
    plain = make_strategy(FinetuneAll, backbone=copy.deepcopy(backbone)).eval()
    strategy = make_strategy(Adapters, backbone=backbone).eval()
    images = random_images(strategy)
    with torch.no_grad():
        before = plain(images)
        assert torch.equal(strategy(images), before)
    found = trained(strategy)
    assert found
    assert all(".adapter.down." in key or ".adapter.up." in key for key in found)
    assert sum(isinstance(module, AdaptedBlock) for module in strategy.backbone.stages[stage].modules()) == count
    with torch.no_grad():
        for parameter in found.values():
            parameter.add_(0.05 * torch.randn_like(parameter))
    after = strategy(images)
    after.square().sum().backward()
    assert not [key for key, parameter in found.items() if parameter.grad is None or not parameter.grad.any()]
    assert not torch.allclose(after, before, atol=1e-5)


def test_bottlenecks_follow_the_channels() -> None:
    def shapes(name: str, **kwargs: int) -> set[tuple[int, ...]]:
        strategy = make_strategy(Adapters, backbone=NETWORKS[name][0](), train_stages=[NETWORKS[name][1]], **kwargs)
        return {tuple(p.shape) for key, p in trained(strategy).items() if key.endswith("adapter.down.weight")}

    assert shapes("resnet18", reduction=4) == {(16, 64, 1, 1)}
    assert shapes("vit_b_16") == {(96, 768)}
    assert shapes("swin_t") == {(24, 192)}  # maps (N, H, W, C)
    assert shapes("toy", reduction=100) == {(1, 8, 1, 1)}  # never narrower than one


class Pair(nn.Module):
    """A block that returns two tensors."""

    def __init__(self) -> None:
        super().__init__()
        self.inner = nn.Sequential(nn.Conv2d(3, 4, 3))

    def forward(self, x: Tensor) -> tuple[Tensor, Tensor]:
        return self.inner(x), x


class First(nn.Module):
    def forward(self, pair: tuple[Tensor, Tensor]) -> Tensor:
        return pair[0]


def test_a_block_of_two_tensors_gets_none() -> None:
    pool = nn.Sequential(nn.AdaptiveAvgPool2d(1), nn.Flatten())
    backbone = Backbone("pair", [("only", nn.Sequential(Pair(), First()))], pool, PREPROCESSING, WeightsInfo())
    strategy = make_strategy(Adapters, backbone=backbone)
    assert isinstance(strategy.backbone.stages["only"], AdaptedBlock)
    assert sum(isinstance(module, AdaptedBlock) for module in strategy.modules()) == 1


def test_only_adapters_and_head_move_and_load_again(digits: Digits, tmp_path: Path) -> None:
    strategy = make_strategy(Adapters, batch_norm="frozen", lr=0.05, train_stages=["stage1", "stage3"])
    assert strategy.plan.frozen_stages == ("stage0", "stage2")
    assert strategy.plan.prefix_end == 1
    names = {f"backbone.{name}" for name in trained(strategy)}
    assert len(names) == 2 * 4
    assert sum(group.size_trained for group in strategy.plan.groups[:-1]) == sum(
        p.numel() for p in trained(strategy).values()
    )
    start = {name: tensor.clone() for name, tensor in strategy.state_dict().items()}
    epoch = strategy.fit(make_trainer(tmp_path), digits)
    moved = {name for name, tensor in strategy.state_dict().items() if not torch.equal(tensor, start[name])}
    assert moved == names | {"head.weight", "head.bias"}

    keep_network(strategy, epoch, tmp_path / "kept")
    best = torch.load(tmp_path / "kept/best.ckpt", weights_only=True)["state_dict"]
    assert "backbone.stages.stage1.adapter.down.weight" in best
    again = make_strategy(Adapters, backbone=toy_backbone(seed=5), train_stages=["stage1", "stage3"], head_seed=9)
    again.load_state_dict(best)
    assert torch.equal(again.eval()(random_images(again)), strategy.eval()(random_images(strategy)))


def test_the_seed_is_that_of_the_head() -> None:
    one, same, other = (trained(make_strategy(Adapters, head_seed=seed)) for seed in (3, 3, 4))
    assert all(torch.equal(one[name], same[name]) for name in one)
    assert not any(torch.equal(one[name], other[name]) for name in one if "down" in name)
    assert not any(parameter.any() for name, parameter in one.items() if "up" in name)


def test_what_cannot_be_is_refused() -> None:
    with pytest.raises(ConfigError, match="reduction=0"):
        make_strategy(Adapters, reduction=0)
    with pytest.raises(ConfigError, match=r"train_stages=\[\].*head_only"):
        make_strategy(Adapters, train_stages=[])
    with pytest.raises(ConfigError, match="'stage9' is no stage of toy"):
        make_strategy(Adapters, train_stages=["stage9"])
