"""Test Grad-CAM against the formula of the paper, on networks small enough to compute by hand."""

import numpy as np
import pytest
import torch
from conftest import PREPROCESSING, SIZE, make_strategy, toy_backbone
from torch import Tensor, nn

from headstart.analysis.explain.grad_cam import (
    StageMap,
    class_maps,
    class_scores,
    find_stage,
    stage_maps,
    tokens_a_side,
)
from headstart.backbones import Backbone, WeightsInfo, timm_backbone
from headstart.errors import ConfigError
from headstart.solvers.neighbours import NearestNeighbours
from headstart.strategies import FinetuneAll, HeadOnly, Strategy
from headstart.tasks import Classification, LinearHead


def images(count: int = 3, seed: int = 0) -> Tensor:
    generator = torch.Generator().manual_seed(seed)
    return torch.randint(0, 256, (count, 3, SIZE, SIZE), generator=generator, dtype=torch.uint8)


def stage(strategy: Strategy, name: str) -> StageMap:
    return find_stage(stage_maps(strategy.backbone), strategy.backbone, name)


def direct(strategy: Strategy, number: int, inputs: Tensor, row: int, label: int) -> tuple[Tensor, Tensor]:
    """Return a stage's output (C, H, W) for one image of a batch and the gradient of its score, by plain autograd."""
    kept: list[Tensor] = []

    def keep(module: nn.Module, given: tuple[Tensor], output: Tensor) -> None:
        output.retain_grad()
        kept.append(output)

    hook = list(strategy.backbone.stages.values())[number].register_forward_hook(keep)
    x = strategy.normalise(inputs).requires_grad_()
    strategy.head(strategy.backbone(x))[row, label].backward()
    hook.remove()
    strategy.zero_grad()
    assert kept[0].grad is not None
    return kept[0].detach()[row], kept[0].grad[row]


def formula(output: Tensor, slope: Tensor) -> Tensor:
    """Return the map by equations 1 and 2 of the paper, position by position."""
    channels, height, width = output.shape
    found = torch.zeros(height, width)
    for channel in range(channels):
        weight = sum(slope[channel, y, x] for y in range(height) for x in range(width)) / (height * width)
        found += weight * output[channel]
    return found.clamp(min=0)


def corner_strategy(wrap: type[nn.Module] = nn.Identity, unwrap: type[nn.Module] = nn.Identity) -> Strategy:
    """Return a strategy whose only evidence is red for class 1 and blue for class 2; its map is 4 x 4."""
    stages = [("pixels", nn.Identity()), ("patches", nn.Sequential(nn.AvgPool2d(4), wrap()))]
    pool = nn.Sequential(unwrap(), nn.AdaptiveAvgPool2d(1), nn.Flatten())
    strategy = make_strategy(HeadOnly, backbone=Backbone("corner", stages, pool, PREPROCESSING, WeightsInfo()))
    with torch.no_grad():
        strategy.head.weight.zero_()
        strategy.head.weight[1, 0] = strategy.head.weight[2, 2] = 1.0
    return strategy.eval()


@pytest.mark.parametrize(("top", "left"), [(0, 0), (0, 12), (12, 0), (8, 4)])
def test_the_map_peaks_where_the_evidence_is(top: int, left: int) -> None:
    strategy = corner_strategy()
    image = torch.zeros(1, 3, SIZE, SIZE, dtype=torch.uint8)
    image[:, 0, top : top + 4, left : left + 4] = 255
    red, counts = class_maps(strategy, stage(strategy, "patches"), image, torch.tensor([1]))
    assert counts
    assert red.shape == (1, 4, 4)
    assert np.unravel_index(int(red.argmax()), (4, 4)) == (top // 4, left // 4)
    assert int((red > 0).sum()) == 1
    blue, _ = class_maps(strategy, stage(strategy, "patches"), image, torch.tensor([2]))
    assert float(blue.max()) == 0


def test_one_channel_by_hand() -> None:
    """Red has weight 1 / 16 for class 1, so the map is the mean normalised red of each patch, over 16."""
    strategy = corner_strategy()
    inputs = images(1)
    found, _ = class_maps(strategy, stage(strategy, "patches"), inputs, torch.tensor([1]))
    red = (inputs[0, 0].double() / 255 - 0.5) / 0.25
    expected = [[float(red[4 * y : 4 * y + 4, 4 * x : 4 * x + 4].mean()) / 16 for x in range(4)] for y in range(4)]
    np.testing.assert_allclose(found[0], np.maximum(expected, 0), atol=1e-6)


@pytest.mark.parametrize("number", range(4))
@pytest.mark.parametrize("frozen", [True, False])
def test_equals_the_formula_at_every_stage(number: int, frozen: bool) -> None:
    strategy = make_strategy(FinetuneAll).eval()
    inputs, labels = images(), torch.tensor([3, 0, 9])
    where = stage(strategy, f"stage{number}")
    expected = [formula(*direct(strategy, number, inputs, row, int(labels[row]))) for row in range(3)]
    strategy.requires_grad_(not frozen)
    found, counts = class_maps(strategy, where, inputs, labels)
    assert counts
    torch.testing.assert_close(found, torch.stack(expected), rtol=1e-4, atol=1e-7)


def test_slopes_are_those_of_small_steps() -> None:
    """The expected slopes need no autograd: the score is computed again for each changed unit."""
    strategy = make_strategy(HeadOnly).eval().double()
    inputs, where = images(1), stage(strategy, "stage2")
    with torch.no_grad():
        output = strategy.backbone.forward_stages(strategy.normalise(inputs), 0, 3)

        def score(x: Tensor) -> float:
            return float(strategy.head(strategy.backbone(x, 3))[0, 4])

        slope = torch.zeros_like(output)
        for place in np.ndindex(*output.shape):
            moved = output.clone()
            moved[place] += 1e-4
            up = score(moved)
            moved[place] -= 2e-4
            slope[place] = (up - score(moved)) / 2e-4
        expected = formula(output[0], slope[0])
    found, _ = class_maps(strategy, where, inputs, torch.tensor([4]))
    torch.testing.assert_close(found[0], expected.float(), rtol=1e-3, atol=1e-6)


def test_hooks_and_gradients_are_removed() -> None:
    strategy = make_strategy(FinetuneAll).eval()
    before = {name: tensor.clone() for name, tensor in strategy.state_dict().items()}
    class_maps(strategy, stage(strategy, "stage1"), images(), torch.tensor([0, 1, 2]))
    assert all(torch.equal(tensor, before[name]) for name, tensor in strategy.state_dict().items())
    assert all(parameter.grad is None for parameter in strategy.parameters())
    assert not any(module._forward_hooks or module._backward_hooks for module in strategy.modules())
    assert not any(module.training for module in strategy.modules())


@pytest.mark.parametrize("number", range(3))
def test_a_head_that_reads_several_stages(number: int) -> None:
    task = Classification(10, head=LinearHead(stages=["stage1", "stage2"]))
    strategy = FinetuneAll(toy_backbone(), task, make_strategy(HeadOnly).make_optimizer).eval()
    assert strategy.backbone.taps == (1, 2)
    inputs, labels = images(), torch.tensor([3, 0, 9])
    found, _ = class_maps(strategy, stage(strategy, f"stage{number}"), inputs, labels)
    expected = [formula(*direct(strategy, number, inputs, row, int(labels[row]))) for row in range(3)]
    torch.testing.assert_close(found, torch.stack(expected), rtol=1e-4, atol=1e-7)


def test_with_statistics_of_the_batch_each_image_has_its_own_slope() -> None:
    strategy = make_strategy(FinetuneAll, batch_norm="batch").eval()
    inputs, rows, labels = images(6), [4, 1], torch.tensor([2, 7])
    found, _ = class_maps(strategy, stage(strategy, "stage1"), inputs, labels, rows)
    expected = [formula(*direct(strategy, 1, inputs, row, int(label))) for row, label in zip(rows, labels, strict=True)]
    torch.testing.assert_close(found, torch.stack(expected), rtol=1e-4, atol=1e-7)
    alone, _ = class_maps(strategy, stage(strategy, "stage1"), inputs[rows], labels)
    assert not torch.allclose(alone, found, rtol=1e-2)


def test_neighbours_have_a_score_with_a_slope() -> None:
    """The vote of one neighbour is a step function; its score is smooth and gives the same order of classes."""
    memory, labels = torch.eye(3), torch.tensor([2, 0, 2])
    head = NearestNeighbours(memory, labels, 3, neighbours=1, temperature=0.1)
    features = torch.tensor([[0.2, 0.9, 0.1]], requires_grad=True)
    unit = features.detach()[0] / features.detach().norm()
    two, zero = (class_scores(head, features, torch.tensor([label])) for label in (2, 0))
    assert float(zero.detach()) == pytest.approx(float(unit[1]) / 0.1, rel=1e-5)
    assert float(two.detach()) == pytest.approx(float(torch.logsumexp(unit[[0, 2]] / 0.1, 0)), rel=1e-5)
    assert zero > two
    assert torch.autograd.grad(zero.sum(), features)[0].abs().max() > 0


@pytest.mark.parametrize(
    ("tokens", "size", "stride", "side"),
    [
        (197, 224, 16, 14),  # a class token
        (196, 224, 16, 14),
        (198, 224, 16, 14),  # and one of distillation
        (21, 56, 14, 4),  # and four registers
        (9, 28, 14, 2),  # the same on 2 x 2 patches: not 3 x 3
        (16, 224, 64, 4),  # rounded up
        (49, 224, None, 7),
        (50, 224, None, None),
        (400, 224, 16, None),
    ],
)
def test_tokens_along_a_side(tokens: int, size: int, stride: int | None, side: int | None) -> None:
    assert tokens_a_side(tokens, size, stride) == side


class ChannelsLast(nn.Module):
    def forward(self, x: Tensor) -> Tensor:
        return x.permute(0, 2, 3, 1)


class ChannelsFirst(nn.Module):
    def forward(self, x: Tensor) -> Tensor:
        return x.permute(0, 3, 1, 2)


def test_maps_with_channels_last() -> None:
    plain, turned = corner_strategy(), corner_strategy(ChannelsLast, ChannelsFirst)
    kinds = [found.kind for found in stage_maps(turned.backbone)]
    assert kinds == ["channels first", "channels last"]
    inputs, labels = images(), torch.tensor([1, 2, 1])
    expected, found = (class_maps(s, stage(s, "patches"), inputs, labels)[0] for s in (plain, turned))
    torch.testing.assert_close(found, expected)


def test_tokens_have_the_order_of_their_patches() -> None:
    """A change of one patch changes its own token most, in the stem and first blocks of a transformer."""
    backbone = timm_backbone("vit_tiny_patch16_224", weights=None, image_size=64)
    strategy = make_strategy(HeadOnly, backbone=backbone).eval()
    found = stage_maps(backbone)
    assert [(one.side, one.extra) for one in found] == [(4, 0), *[(4, 1)] * 4]
    image = torch.full((1, 3, 64, 64), 128, dtype=torch.uint8)
    other = image.clone()
    other[:, :, 16:32, 48:64] = 255  # row 1, column 3
    with torch.no_grad():
        one, two = (backbone.forward_stages(strategy.normalise(x), 0, 2) for x in (image, other))
    change = (found[1].maps(two) - found[1].maps(one)).abs().sum(dim=(0, 1))
    assert np.unravel_index(int(change.argmax()), (4, 4)) == (1, 3)
    # The head reads the class token, so that the patches of the last stage do not count; those below do.
    assert not class_maps(strategy, found[-1], image, torch.tensor([0]))[1]
    assert class_maps(strategy, found[-2], image, torch.tensor([0]))[1]


def test_wrong_stages_are_one_sentence() -> None:
    strategy = make_strategy(HeadOnly)
    maps = stage_maps(strategy.backbone)
    assert [found.side for found in maps] == [8, 4, 4, 4]
    with pytest.raises(ConfigError, match=r"no such stage\. Did you mean 'stage3'"):
        find_stage(maps, strategy.backbone, "stage33")
    stages = [("a", nn.AvgPool2d(4)), ("b", nn.Sequential(nn.AdaptiveAvgPool2d(1), nn.Flatten(), nn.Linear(3, 5)))]
    backbone = Backbone("ends in a vector", stages, nn.Identity(), PREPROCESSING, WeightsInfo())
    with pytest.raises(ConfigError, match=r"no map at.*choose one of a"):
        find_stage(stage_maps(backbone), backbone, "b")
