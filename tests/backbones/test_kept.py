"""Test that the kept network stays untouched, and that it is made again when it has to be."""

import copy
from dataclasses import replace
from typing import Any

import pytest
import torch
from conftest import toy_backbone
from torch import fx, nn

from headstart.backbones import Backbone, kept
from headstart.backbones.kept import copy_of_kept, twin_of


def test_a_twin_is_a_deep_copy() -> None:
    network = toy_backbone().eval()
    network.stages["stage3"] = fx.GraphModule(network.stages["stage3"], fx.Tracer().trace(network.stages["stage3"]))
    network.stages["stage0"].register_forward_hook(lambda module, inputs, output: output + 1)
    network.also = [network.stages["stage1"]]  # not registered, as in some libraries
    twin, plain = twin_of(network), copy.deepcopy(network)
    x = torch.rand(2, 3, 16, 16)
    with torch.no_grad():
        expected = network(x)
        assert torch.equal(twin(x), expected)
        assert list(twin.state_dict()) == list(plain.state_dict())
        assert repr(twin) == repr(plain)
        assert twin.also[0] is twin.stages["stage1"]
        assert not {id(part) for part in twin.modules()} & {id(part) for part in network.modules()}
        for tensor in twin.state_dict().values():
            tensor.zero_()
        twin.stages["stage2"] = nn.Identity()
        assert torch.equal(network(x), expected)


@pytest.mark.parametrize(("matched", "made"), [(1.0, 1), (0.9, 2), (None, 2)])
def test_a_seed_matters_only_to_tensors_that_no_file_fills(
    monkeypatch: pytest.MonkeyPatch, matched: float | None, made: int
) -> None:
    monkeypatch.setattr(kept, "_LAST", {})
    calls: list[int] = []

    def make() -> Backbone:
        calls.append(1)
        network = toy_backbone()
        network.weights = replace(network.weights, matched=matched)
        return network

    settings: dict[str, Any] = {"name": "toy", "weights": None, "seed": 0}
    first, second = copy_of_kept(settings, make), copy_of_kept(settings, make)
    assert first is not second
    assert len(calls) == 1
    copy_of_kept(settings | {"seed": 1}, make)
    assert len(calls) == made
    copy_of_kept(settings | {"seed": 1, "image_size": 32}, make)
    assert len(calls) == made + 1
