"""Test that the leaner ReLU6 changes no value and no gradient, and saves one tensor less."""

from functools import partial

import pytest
import torch
from torch import Tensor, nn

from headstart.backbones import efficientnet_lite
from headstart.backbones.relu6 import ReLU6, save_once


def saved(held: list[int], tensor: Tensor) -> Tensor:
    held.append(tensor.data_ptr())
    return tensor


@pytest.mark.parametrize("layers", [1, 2])
def test_values_and_gradients_are_equal_and_less_is_saved(layers: int) -> None:
    torch.manual_seed(0)
    blocks = [nn.Sequential(nn.Conv2d(3, 3, 3), nn.BatchNorm2d(3), nn.ReLU6(inplace=True)) for _ in range(layers)]
    network = nn.Sequential(*blocks, nn.Conv2d(3, 3, 1))
    images = 20 * torch.randn(4, 3, 12, 12)  # some outputs are above 6
    results, counts = [], []
    for lean in (False, True):
        if lean:
            save_once(network)
            assert sum(type(module) is ReLU6 for module in network.modules()) == layers
        held: list[int] = []
        with torch.autograd.graph.saved_tensors_hooks(partial(saved, held), lambda x: x):
            output = network(images)
        network.zero_grad()
        output.square().sum().backward()
        results.append([output.detach(), *(p.grad.clone() for p in network.parameters() if p.grad is not None)])
        counts.append(len(set(held)))
        del output
    assert all(map(torch.equal, *results))
    assert counts[0] - counts[1] == layers


def test_edges_have_no_gradient_as_with_pytorch() -> None:
    start = torch.tensor([-1.0, 0.0, 3.0, 6.0, 7.0], requires_grad=True)
    found = []
    for kind in (nn.ReLU6, ReLU6):
        found.append(torch.autograd.grad(kind(inplace=True)(1 * start).sum(), start)[0])
    assert torch.equal(*found)
    assert found[0].tolist() == [0, 0, 1, 0, 0]


def test_efficientnet_lite_has_it_and_is_described_as_before() -> None:
    """Stored features are named by the description of the layers."""
    network = efficientnet_lite("efficientnet_lite0", weights=None)
    own = [module for module in network.modules() if isinstance(module, nn.ReLU6)]
    assert {type(module) for module in own} == {ReLU6}
    assert repr(own[0]) == repr(nn.ReLU6(inplace=True))
