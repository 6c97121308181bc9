"""Test the statistics of batch norm on a target: nothing is far from a network that has the target's own statistics."""

import numpy as np
import pytest
import torch
from conftest import PREPROCESSING, toy_backbone
from torch import nn

from headstart.advice.channels import ChannelMoments, channel_distances
from headstart.backbones import Backbone
from headstart.data import ImageSplit, Textures
from headstart.features.prefix import FrozenPrefix
from headstart.inputs.signature import reconcile


@pytest.fixture(scope="module")
def split() -> ImageSplit:
    """Return a few images."""
    data = Textures(counts=(6, 1, 1), patch=16)
    data.prepare(PREPROCESSING)
    return data.train


def prefix_of(backbone: Backbone) -> FrozenPrefix:
    """Return the whole network as a prefix."""
    found = reconcile(backbone.signature, backbone.preprocessing)
    return FrozenPrefix(backbone, len(backbone.stages), found.scale, found.shift)


def test_moments_are_those_of_all_values() -> None:
    values = torch.randn(10, 3, 4, 5, generator=torch.Generator().manual_seed(0)) * 2 + 1
    moments = ChannelMoments(3)
    for part in values.split(4):
        moments(nn.Identity(), (part,))
    assert moments.mean == pytest.approx(values.mean(dim=(0, 2, 3)).numpy(), rel=1e-5)
    assert moments.variance == pytest.approx(values.var(dim=(0, 2, 3), correction=0).numpy(), rel=1e-5)


def test_a_network_with_the_statistics_of_the_target_is_at_distance_0(split: ImageSplit) -> None:
    backbone = toy_backbone()
    prefix = prefix_of(backbone)
    far = channel_distances(prefix, split, torch.device("cpu"))
    assert list(far) == ["stage0", "stage1", "stage2", "stage3"]
    assert all(len(distances) == 1 for distances in far.values())
    assert max(max(distances) for distances in far.values()) > 0.3
    for number in range(4):  # a layer's input depends on the statistics below it
        layer = backbone.stages[f"stage{number}"][1]
        moments = ChannelMoments(layer.num_features)
        hook = layer.register_forward_pre_hook(moments)
        images = split.view_tensor([(0, place) for place in range(len(split))]).permute(0, 2, 3, 1)
        with torch.inference_mode():
            prefix(images)
        hook.remove()
        layer.running_mean.copy_(torch.from_numpy(moments.mean))
        layer.running_var.copy_(torch.from_numpy(moments.variance))
    near = channel_distances(prefix, split, torch.device("cpu"))
    assert np.concatenate(list(near.values())) == pytest.approx(0, abs=1e-3)
    assert not any(layer._forward_pre_hooks for layer in backbone.modules())


def test_shifted_statistics_are_found_in_their_stage(split: ImageSplit) -> None:
    backbone = toy_backbone()
    before = channel_distances(prefix_of(backbone), split, torch.device("cpu"))
    backbone.stages["stage2"][1].running_mean += 5
    after = channel_distances(prefix_of(backbone), split, torch.device("cpu"))
    assert after["stage1"] == before["stage1"]
    assert after["stage2"][0] > before["stage2"][0] + 2


def test_a_network_without_batch_norm(split: ImageSplit) -> None:
    backbone = toy_backbone()
    for stage in backbone.stages.values():
        stage[1] = nn.Identity()
    assert channel_distances(prefix_of(backbone), split, torch.device("cpu")) == {}
