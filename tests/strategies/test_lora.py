"""Test low-rank updates: adapted layers, trained tensors, and the merged network."""

import builtins
import copy
from collections.abc import Callable
from functools import partial
from pathlib import Path
from typing import Any

import pytest
import torch
from conftest import PREPROCESSING, make_strategy, make_trainer, toy_backbone
from torch import Tensor, nn

from headstart.backbones import Backbone, WeightsInfo, timm_backbone, torchvision_backbone
from headstart.data import Digits
from headstart.errors import ConfigError
from headstart.strategies import FinetuneAll, Lora
from headstart.training.checkpoints import BestEpoch, keep_network

pytest.importorskip("peft")


class Attention(nn.Module):
    """A block whose weights PyTorch reads directly, without calling its layers."""

    def __init__(self, width: int) -> None:
        super().__init__()
        self.attention = nn.MultiheadAttention(width, 2, batch_first=True)

    def forward(self, x: Tensor) -> Tensor:
        return x + self.attention(x, x, x, need_weights=False)[0]


class Tokens(nn.Module):
    def forward(self, x: Tensor) -> Tensor:
        return x.flatten(2).transpose(1, 2)


def token_backbone() -> Backbone:
    with torch.random.fork_rng():
        torch.manual_seed(0)
        stages: list[tuple[str, nn.Module]] = [
            ("stem", nn.Sequential(nn.Conv2d(3, 8, 4, stride=4), Tokens())),
            ("attention", nn.Sequential(Attention(8), nn.LayerNorm(8))),
            ("mlp", nn.Sequential(nn.Linear(8, 16), nn.GELU(), nn.Linear(16, 8))),
            ("norm", nn.LayerNorm(8)),
        ]
    return Backbone("tokens", stages, Mean(), PREPROCESSING, WeightsInfo(name="tokens"))


class Mean(nn.Module):
    def forward(self, x: Tensor) -> Tensor:
        return x.mean(dim=1)


def odd_backbone() -> Backbone:
    """Return a backbone with grouped and otherwise unusual convolutions."""
    from timm.layers import Conv2dSame

    with torch.random.fork_rng():
        torch.manual_seed(0)
        stages: list[tuple[str, nn.Module]] = [
            ("same", nn.Sequential(Conv2dSame(3, 6, 3, stride=2), nn.ReLU())),
            ("dilated", nn.Conv2d(6, 6, 3, dilation=2, padding=2)),
            ("reflected", nn.Conv2d(6, 6, 3, padding=1, padding_mode="reflect")),
            ("depthwise", nn.Conv2d(6, 6, 3, padding=1, groups=6)),
            ("plain", nn.Conv2d(6, 8, 3)),
        ]
    return Backbone("odd", stages, Pooled(), PREPROCESSING, WeightsInfo(name="odd"))


class Pooled(nn.Module):
    def forward(self, x: Tensor) -> Tensor:
        return x.mean(dim=(2, 3))


NETWORKS: dict[str, Callable[[], Backbone]] = {
    "toy": toy_backbone,
    "tokens": token_backbone,
    "odd": odd_backbone,
    "vit_b_16": partial(torchvision_backbone, "vit_b_16", weights=None, image_size=32),
    "swin_t": partial(torchvision_backbone, "swin_t", weights=None, image_size=32),
    "timm convolutions": partial(timm_backbone, "test_efficientnet", weights=None, image_size=64),
    "timm same padding": partial(timm_backbone, "tf_mobilenetv3_small_minimal_100", weights=None, image_size=64),
    "timm tokens": partial(timm_backbone, "test_vit", weights=None, image_size=160),
    "timm weights read": partial(timm_backbone, "eva02_tiny_patch14_224", weights=None, image_size=28),
}
DEPTHWISE = {"odd": ["depthwise"]}


def random_images(strategy: Lora | FinetuneAll, count: int = 2) -> Tensor:
    size = strategy.backbone.preprocessing.image_size
    rng = torch.Generator().manual_seed(0)
    return torch.randint(0, 256, (count, 3, size, size), dtype=torch.uint8, generator=rng)


def updates(strategy: Lora) -> dict[str, nn.Parameter]:
    return {name: p for name, p in strategy.backbone.named_parameters() if p.requires_grad}


def lively(backbone: Backbone) -> Backbone:
    """Make every block count: a block with scale zero passes no gradient."""
    for parameter in backbone.parameters():
        if parameter.ndim == 1 and not parameter.any():
            nn.init.constant_(parameter, 0.1)
    return backbone


@pytest.mark.parametrize("name", list(NETWORKS))
def test_every_update_acts_and_is_merged_exactly(name: str) -> None:
    backbone = lively(NETWORKS[name]())
    plain = make_strategy(FinetuneAll, backbone=copy.deepcopy(backbone)).eval()
    names = set(backbone.state_dict())
    strategy = make_strategy(Lora, backbone=backbone, rank=2).eval()
    images = random_images(strategy)
    with torch.no_grad():
        before = plain(images)
        assert torch.equal(strategy(images), before)
    trained = updates(strategy)
    assert trained
    assert all("lora_" in key for key in trained)
    with torch.no_grad():
        for parameter in trained.values():
            parameter.add_(0.05 * torch.randn_like(parameter))
    after = strategy(images)
    after.square().sum().backward()
    assert not [key for key, parameter in trained.items() if parameter.grad is None or not parameter.grad.any()]
    assert not torch.allclose(after, before, atol=1e-5)
    shown = [(group.size, group.size_trained) for group in strategy.plan.groups]
    strategy.merge()
    assert set(strategy.backbone.state_dict()) == names
    assert not [
        m for m in strategy.modules() if type(m).__module__.startswith("peft") or hasattr(m, "parametrizations")
    ]
    torch.testing.assert_close(strategy(images), after, rtol=1e-5, atol=1e-5)
    assert [(group.size, group.size_trained) for group in strategy.plan.groups] == shown


def test_which_layers_are_adapted() -> None:
    adapted = {name.split(".")[1] for name in updates(make_strategy(Lora, backbone=odd_backbone()))}
    assert adapted == {"same", "dilated", "reflected", "plain"}
    found = updates(make_strategy(Lora, backbone=token_backbone(), train_stages=["attention"], rank=3))
    shapes = {tuple(parameter.shape) for parameter in found.values()}
    assert shapes == {(3, 8), (24, 3), (8, 3)}  # A of both, B of the three projections in one, B of the output


@pytest.mark.parametrize("make", [toy_backbone, token_backbone])
def test_only_updates_and_head_move_and_the_best_network_is_plain(
    make: Callable[[], Backbone], digits: Digits, tmp_path: Path
) -> None:
    seen: dict[str, Tensor] = {}

    class Watched(Lora):
        def finish(self, trainer: Any, data: Any) -> None:
            seen.update({name: tensor.clone() for name, tensor in self.state_dict().items()})
            seen["logits"] = self.eval()(random_images(self)).detach()
            super().finish(trainer, data)

    strategy = make_strategy(Watched, backbone=make(), batch_norm="frozen", lr=0.05)
    assert isinstance(strategy, Lora)
    trained = set(updates(strategy))
    start = {name: tensor.clone() for name, tensor in strategy.state_dict().items()}
    trainer = make_trainer(tmp_path)
    trainer.callbacks[-1] = BestEpoch(tmp_path, "epoch", monitor="validation/accuracy", mode="max")
    epoch = strategy.fit(trainer, digits)
    kept = torch.load(tmp_path / "epoch.ckpt", weights_only=True)["state_dict"]
    assert {name for name in kept if name.startswith("backbone")} == {f"backbone.{name}" for name in trained}
    moved = {name for name, tensor in start.items() if not torch.equal(tensor, seen[name])}
    assert moved == {f"backbone.{name}" for name in trained} | {"head.weight", "head.bias"}

    keep_network(strategy, epoch, tmp_path / "checkpoints")
    best = torch.load(tmp_path / "checkpoints/best.ckpt", weights_only=True)["state_dict"]
    again = make_strategy(FinetuneAll, backbone=make())
    again.load_state_dict(best)
    torch.testing.assert_close(again.eval()(random_images(again)), seen["logits"], rtol=1e-5, atol=1e-5)
    name, first = next(iter(make().state_dict().items()))
    assert not torch.equal(best[f"backbone.{name}"], first)


@pytest.mark.parametrize(
    "build",
    [
        partial(torchvision_backbone, "vit_b_16", weights=None, image_size=32),
        partial(timm_backbone, "test_efficientnet", weights=None, image_size=64),
    ],
)
def test_the_kept_network_is_a_weights_file(build: Callable[..., Backbone], tmp_path: Path) -> None:
    strategy = make_strategy(Lora, backbone=build(seed=1), rank=2)
    assert isinstance(strategy, Lora)
    with torch.no_grad():
        for parameter in updates(strategy).values():
            parameter.add_(0.05 * torch.randn_like(parameter))
    strategy.merge()
    keep_network(strategy, 0, tmp_path)
    again = build(weights=str(tmp_path / "best.ckpt"))
    assert again.weights.matched == 1
    merged = strategy.backbone.state_dict()
    assert all(torch.equal(tensor, merged[name]) for name, tensor in again.state_dict().items())
    x = torch.randn(2, 3, again.preprocessing.image_size, again.preprocessing.image_size)
    with torch.no_grad():  # the memory layout is another
        torch.testing.assert_close(again.eval()(x), strategy.backbone.eval()(x), rtol=1e-5, atol=1e-5)


def test_stages_that_are_not_named_stay_a_frozen_prefix() -> None:
    strategy = make_strategy(Lora, train_stages=["stage2", "stage3"], rank=1)
    assert strategy.plan.prefix_end == 2
    assert strategy.plan.frozen_stages == ("stage0", "stage1")
    assert {name.split(".")[1] for name in updates(strategy)} == {"stage2", "stage3"}
    group = strategy.plan.groups[1]
    # of a 3 x 3 convolution 6 -> 8 and one 8 -> 8: A (1, in * 9) and B (out, 1) each
    assert group.size_trained == (54 + 8) + (72 + 8)
    assert group.started_from == "toy"


def test_the_seed_is_that_of_the_head() -> None:
    one, same, other = (updates(make_strategy(Lora, head_seed=seed)) for seed in (3, 3, 4))
    torch.rand(5)
    assert all(torch.equal(one[name], same[name]) for name in one)
    assert not any(torch.equal(one[name], other[name]) for name in one if "lora_A" in name)


def test_random_state_outside_is_left_alone() -> None:
    torch.manual_seed(0)
    make_strategy(Lora)
    found = torch.rand(1)
    torch.manual_seed(0)
    make_strategy(FinetuneAll)
    assert torch.equal(found, torch.rand(1))


def test_dropout_acts_in_training_only() -> None:
    strategy = make_strategy(Lora, dropout=0.5, batch_norm="frozen")
    with torch.no_grad():
        for parameter in updates(strategy).values():
            parameter.add_(0.1)
    images = random_images(strategy)
    assert not torch.equal(strategy.train()(images), strategy(images))
    assert torch.equal(strategy.eval()(images), strategy(images))


def test_what_cannot_be_is_refused(monkeypatch: pytest.MonkeyPatch) -> None:
    with pytest.raises(ConfigError, match=r"depthwise of odd has no linear layer.*choose others of same, dilated"):
        make_strategy(Lora, backbone=odd_backbone(), train_stages=["depthwise"])
    with pytest.raises(ConfigError, match="no stage of toy"):
        make_strategy(Lora, train_stages=[])
    with pytest.raises(ConfigError, match="rank=0"):
        make_strategy(Lora, rank=0)
    with pytest.raises(ConfigError, match="alpha=0"):
        make_strategy(Lora, alpha=0)
    with pytest.raises(ConfigError, match="dropout=1"):
        make_strategy(Lora, dropout=1)
    with pytest.raises(ConfigError, match=r"dropout=0.1: tokens reads attention.0.attention without an input"):
        make_strategy(Lora, backbone=token_backbone(), dropout=0.1)
    plain = builtins.__import__

    def without_peft(name: str, *args: Any, **kwargs: Any) -> Any:
        if name.startswith("peft"):
            raise ImportError(name)
        return plain(name, *args, **kwargs)

    monkeypatch.setattr(builtins, "__import__", without_peft)
    with pytest.raises(ConfigError, match=r"pip install 'headstart\[lora\]'"):
        make_strategy(Lora)
