"""Test that weights fit the network that they are from, and no other network of its family."""

from functools import cache
from itertools import product

import pytest
import timm
import torch
import torchvision
from torch import Tensor

from headstart.backbones.placing import Candidate, candidates, place, refusal
from headstart.backbones.torchvision_backbones import without_classifier

TORCHVISION = {
    "resnet": ["resnet18", "resnet34", "resnet50", "resnet101", "resnet152", "wide_resnet50_2", "wide_resnet101_2",
               "resnext50_32x4d", "resnext101_32x8d", "resnext101_64x4d"],
    "densenet": ["densenet121", "densenet161", "densenet169", "densenet201"],
    "vgg": ["vgg11", "vgg13", "vgg16", "vgg19", "vgg11_bn", "vgg13_bn", "vgg16_bn", "vgg19_bn"],
    "efficientnet": ["efficientnet_b0", "efficientnet_b1", "efficientnet_b2", "efficientnet_b3"],
    "mobilenet": ["mobilenet_v2", "mobilenet_v3_small", "mobilenet_v3_large"],
    "convnext": ["convnext_tiny", "convnext_small", "convnext_base"],
    "swin": ["swin_t", "swin_s", "swin_b"],
    "vit": ["vit_b_16", "vit_b_32", "vit_l_16"],
    "small": ["alexnet", "googlenet", "shufflenet_v2_x1_0"],
}  # fmt: skip
TIMM = {
    "resnet": ["resnet18", "resnet18d", "resnet26", "resnet34", "resnet50", "resnet50d", "resnet101", "seresnet50"],
    "vit": ["vit_tiny_patch16_224", "vit_small_patch16_224", "vit_small_patch32_224", "vit_base_patch16_224",
            "deit_tiny_distilled_patch16_224", "deit3_small_patch16_224", "vit_small_patch14_dinov2",
            "vit_small_patch14_reg4_dinov2"],
    "convnext": ["convnext_atto", "convnext_atto_ols", "convnext_femto", "convnext_pico", "convnext_nano",
                 "convnext_tiny", "convnext_small"],
    "efficientnet": ["tf_efficientnet_lite0", "tf_efficientnet_lite1", "tf_efficientnet_lite2", "efficientnet_b0",
                     "efficientnet_b1", "efficientnet_b2", "mobilenetv3_small_100", "mobilenetv3_large_100"],
    "swin": ["swin_tiny_patch4_window7_224", "swin_small_patch4_window7_224", "swin_base_patch4_window7_224"],
}  # fmt: skip
LIBRARIES = {"torchvision": TORCHVISION, "timm": TIMM}


@cache
def tensors(library: str, name: str) -> tuple[dict[str, Tensor], dict[str, Tensor]]:
    """Return names and shapes: those that a network without classifier needs, and those of its file."""
    with torch.device("meta"):
        if library == "timm":
            network = timm.create_model(name)
            found = dict(network.state_dict())
            network.reset_classifier(0)
        else:
            extra = {"init_weights": False} if name == "googlenet" else {}
            network = torchvision.models.get_model(name, weights=None, **extra)
            found = dict(network.state_dict())
            without_classifier(network)
    return dict(network.state_dict()), found


def reason(wanted: dict[str, Tensor], found: dict[str, Tensor]) -> str | None:
    return refusal(place(wanted, found), wanted, found, "w.pt", "it")


@pytest.mark.parametrize(
    ("library", "family"),
    [(library, family) for library, families in LIBRARIES.items() for family in families],
)
def test_a_network_takes_its_own_file_and_no_other_of_its_family(library: str, family: str) -> None:
    names, taken = LIBRARIES[library][family], []
    for wanted, other in product(names, names):
        if reason(tensors(library, wanted)[0], tensors(library, other)[1]) is None:
            taken.append((wanted, other))
    assert taken == [(name, name) for name in names]
    for name in names:
        placed = place(*tensors(library, name))
        assert (placed.fraction, placed.missing, placed.extra) == (1, (), ())


def test_what_a_refusal_shows() -> None:
    wanted, _ = tensors("torchvision", "resnet18")
    _, bigger = tensors("torchvision", "resnet34")
    said = reason(wanted, bigger)
    assert said is not None
    assert "has 96 tensors that it lacks, such as layer1.2.conv1.weight (64, 64, 3, 3), layer1.2" in said
    assert said.endswith(
        "ends with layer4.1.bn2.bias (512,), layer4.1.bn2.running_mean (512,), layer4.1.bn2.running_var (512,)."
    )
    said = reason(wanted, tensors("torchvision", "vgg16")[1])
    assert said is not None
    assert "fills 0% of the tensors of it (0 of 100)" in said
    assert "it lacks conv1.weight (64, 3, 7, 7), bn1.weight (64,), bn1.bias (64,);" in said
    assert "the file has features.0.weight (64, 3, 3, 3), features.0.bias (64,), features.2.weight" in said
    other = {**tensors("torchvision", "resnet18")[1], "bn1.bias": torch.zeros(3), "bn1.weight": torch.zeros(5)}
    said = reason(wanted, other)
    assert said is not None
    assert "bn1.weight has shape (5,) instead of (64,); bn1.bias has shape (3,) instead of (64,)." in said


@pytest.mark.parametrize("channels", [2, 4, 6, 13])
def test_a_first_layer_for_other_channels_is_refused_with_that_reason(channels: int) -> None:
    wanted, found = tensors("torchvision", "resnet18")
    found = {**found, "conv1.weight": torch.zeros(64, channels, 7, 7)}
    said = f"w.pt: its first layer conv1.weight was made for images of {channels} channels, but it takes images of 3."
    assert reason(wanted, found) == said


@pytest.mark.parametrize(
    ("extra", "unused"),
    [
        ({"fc.weight": (7, 512), "layer1.0.conv1.total_ops": (1,), "n_averaged": ()}, ()),
        ({"queue": (128, 64), "projector.0.weight": (9, 9), "mask_token": (1, 1, 9)}, ("queue", "projector.0.weight")),
        (
            {"head.last_layer.weight_g": (9, 1), "aux1.fc.weight": (3, 3)},
            (),
        ),
        ({"layer5.0.conv1.weight": (9, 9, 3, 3)}, None),
        ({"conv1.bias": (64,)}, None),
        ({"layer1.0.adapter.down.weight": (4, 64)}, None),
    ],
)
def test_what_may_be_left_over(extra: dict[str, tuple[int, ...]], unused: tuple[str, ...] | None) -> None:
    wanted, found = tensors("torchvision", "resnet18")
    bare = {name: tensor for name, tensor in found.items() if not name.startswith("fc.")}
    found = {**bare, **{name: torch.zeros(shape) for name, shape in extra.items()}}
    if unused is None:
        assert "that it lacks" in str(reason(wanted, found))
    else:
        assert reason(wanted, found) is None
        assert place(wanted, found).unused == unused


@pytest.mark.parametrize(
    ("names", "first"),
    [
        (["student", "teacher"], "teacher"),
        (["model", "model_ema"], "model_ema"),
        (["state_dict", "state_dict_ema"], "state_dict_ema"),
        (["module.encoder_k.", "module.encoder_q."], "module.encoder_q."),
        (["momentum_encoder.", "base_encoder."], "base_encoder."),
        (["target_network.", "online_network."], "online_network."),
        (["backbone_momentum.", "backbone."], "backbone."),
    ],
)
def test_of_equal_sub_networks_one_comes_first(names: list[str], first: str) -> None:
    listed = [Candidate((), name, {}) if name.endswith(".") else Candidate((name,), "", {}) for name in names]
    best = min(listed, key=lambda candidate: candidate.rank)
    assert first in (best.prefix, *best.path)


@pytest.mark.parametrize("prefix", ["", "module.", "a.b_c.d0.", "backbone._trunk."])
def test_any_prefix_is_found(prefix: str) -> None:
    wanted = {"conv.weight", "conv.bias", "blocks.0.norm.weight"}
    found = {f"{prefix}{name}": torch.zeros(2) for name in wanted} | {"head.weight": torch.zeros(1)}
    listed = candidates({("model",): found}, wanted)
    assert max(listed, key=lambda candidate: len(candidate.tensors.keys() & wanted)).prefix == prefix
