"""Test weights files for other image sizes, for grey images, or in other sub-dictionaries."""

import argparse
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest
import timm
import torch
from torch import Tensor

from headstart.backbones import Backbone, timm_backbone, torchvision_backbone
from headstart.backbones.adapting import adapted, timm_adapt, torchvision_swin
from headstart.backbones.placing import place, refusal
from headstart.backbones.weights import fill_from
from headstart.errors import WeightsError

TINY_VIT = {"embed_dim": 12, "depth": 4, "num_heads": 3, "num_classes": 0}


def network(seed: int) -> torch.nn.Module:
    """Return a small network with convolutions, batch norm and a classifier."""
    torch.manual_seed(seed)
    return timm.create_model("test_resnet", num_classes=3)


def saved(state: dict[str, Tensor], prefix: str) -> dict[str, Tensor]:
    return {f"{prefix}{name}": tensor for name, tensor in state.items()}


OWN, OTHER = network(7).state_dict(), network(8).state_dict()
BIGGER = {**OTHER, "layer1.9.conv1.weight": torch.zeros(4, 4, 3, 3)}
WRAPPED: dict[str, tuple[Any, str | None]] = {
    "moco": (
        {"arch": "r", "state_dict": saved(OWN, "module.encoder_q.") | saved(BIGGER, "module.encoder_k.")},
        "'state_dict', names without 'module.encoder_q.'",
    ),
    "moco of equal halves": (
        {"state_dict": saved(OTHER, "encoder_k.") | saved(OWN, "encoder_q.") | {"queue": torch.zeros(9, 9)}},
        "'state_dict', names without 'encoder_q.' ('state_dict', names without 'encoder_k.' would fit as well)",
    ),
    "moco v3": (
        {"state_dict": saved(OTHER, "module.momentum_encoder.") | saved(OWN, "module.base_encoder.")},
        "'state_dict', names without 'module.base_encoder.'"
        " ('state_dict', names without 'module.momentum_encoder.' would fit as well)",
    ),
    "dino": (
        {"student": saved(OTHER, "module.backbone."), "teacher": saved(OWN, "backbone."), "epoch": 3},
        "'teacher', names without 'backbone.' ('student', names without 'module.backbone.' would fit as well)",
    ),
    "a bigger teacher": ({"student": OWN, "teacher": BIGGER}, "'student'"),
    "timm with an average": (
        {"state_dict": OTHER, "state_dict_ema": OWN, "args": argparse.Namespace(lr=0.1), "version": 2},
        "'state_dict_ema' ('state_dict' would fit as well)",
    ),
    "byol": (
        saved(OWN, "online_network.encoder.") | saved(OTHER, "target_network.encoder."),
        "names without 'online_network.encoder.' (names without 'target_network.encoder.' would fit as well)",
    ),
    "compiled": ({"model_state_dict": saved(OWN, "_orig_mod.")}, "'model_state_dict'"),
    "deep": (
        {"classy_state_dict": {"base_model": {"model": {"trunk": saved(OWN, "_feature_blocks.")}}}},
        "'classy_state_dict.base_model.model.trunk', names without '_feature_blocks.'",
    ),
    "beside an optimizer": (
        {"model": OWN, "optimizer": {"state": {0: {"exp_avg": torch.zeros(4)}}, "param_groups": [{"lr": 0.1}]}},
        "'model'",
    ),
    "plain": (OWN, None),
    "averaged by torch": ({"n_averaged": torch.tensor(3)} | saved(OWN, "module."), "names without 'module.'"),
}


@pytest.mark.parametrize("name", list(WRAPPED))
def test_sub_networks_are_found_and_named(name: str, tmp_path: Path) -> None:
    content, taken = WRAPPED[name]
    torch.save(content, tmp_path / "w.pt")
    backbone = timm_backbone("test_resnet", weights=str(tmp_path / "w.pt"), image_size=32)
    assert backbone.weights.matched == 1
    assert torch.equal(next(backbone.parameters()), next(iter(OWN.values())))
    assert backbone.weights.taken == taken
    assert "layer1 (1 tensor)" not in backbone.weights.unused


def test_a_grey_first_layer_gives_the_same_output_on_grey_images(tmp_path: Path) -> None:
    torch.manual_seed(0)
    grey = timm.create_model("test_resnet", num_classes=3, in_chans=1)
    torch.save(grey.state_dict(), tmp_path / "grey.pt")
    backbone = timm_backbone("test_resnet", weights=str(tmp_path / "grey.pt"), image_size=32).eval()
    x = torch.randn(2, 1, 32, 32)
    grey.reset_classifier(0)
    torch.testing.assert_close(backbone(x.expand(2, 3, 32, 32)), grey.eval()(x), rtol=1e-4, atol=1e-5)
    (changed,) = backbone.weights.changed
    assert changed == "conv1.0.weight: from one grey channel to three colour channels, a third each"
    four = timm.create_model("test_resnet", num_classes=3, in_chans=4)
    torch.save(four.state_dict(), tmp_path / "four.pt")
    with pytest.raises(WeightsError, match=r"conv1\.0\.weight was made for images of 4 channels, but test_resnet"):
        timm_backbone("test_resnet", weights=str(tmp_path / "four.pt"), image_size=32)


def of_a_run(backbone: Backbone, file: Path) -> str:
    """Return the path of a checkpoint in the form that a run writes."""
    state = {f"backbone.{name}": tensor for name, tensor in backbone.state_dict().items()}
    torch.save({"state_dict": state | {"head.weight": torch.zeros(2, 2)}, "epoch": 3}, file)
    return str(file)


@pytest.mark.parametrize("first", [32, 48, 96])
@pytest.mark.parametrize("then", [32, 64])
def test_positions_of_a_run_at_another_size_are_resized(first: int, then: int, tmp_path: Path) -> None:
    source = timm_backbone("test_vit", weights=None, image_size=first, seed=3)
    target = timm_backbone("test_vit", of_a_run(source, tmp_path / "best.ckpt"), then)
    assert target.weights.matched == 1
    own, given = ({n.partition("network.")[2]: t for n, t in b.state_dict().items()} for b in (target, source))
    assert all(torch.equal(own[name], given[name]) for name in given if name != "pos_embed")
    positions = timm.layers.resample_abs_pos_embed(given["pos_embed"], [then // 16, then // 16])
    torch.testing.assert_close(own["pos_embed"], positions)
    old, new = ((1, 1 + (size // 16) ** 2, 64) for size in (first, then))
    said = (f"positions resized for this image size: pos_embed from {old} to {new}",)
    assert target.weights.changed == (() if first == then else said)


@pytest.mark.slow
@pytest.mark.parametrize("then", [64, 96])
def test_positions_of_a_run_of_torchvision(then: int, tmp_path: Path) -> None:
    source = torchvision_backbone("vit_b_16", weights=None, image_size=64, seed=3)
    target = torchvision_backbone("vit_b_16", of_a_run(source, tmp_path / "best.ckpt"), then)
    assert target.weights.matched == 1
    assert target(torch.zeros(1, 3, then, then)).shape == (1, 768)
    assert len(target.weights.changed) == (then != 64)


def test_windows_of_another_size_are_resized() -> None:
    make = timm.models.swin_transformer.SwinTransformer
    sizes = {"patch_size": 4, "embed_dim": 8, "depths": (1, 1), "num_heads": (2, 2), "num_classes": 0}
    source, target = (make(img_size=size, window_size=size // 8, **sizes) for size in (32, 64))
    info = fill_from(target, {(): source.state_dict()}, "w.pt", "swin", timm_adapt(target))
    assert info.matched == 1
    (changed,) = info.changed
    assert "layers.0.blocks.0.attn.relative_position_bias_table from (49, 2) to (225, 2) and 1 more" in changed


def test_windows_of_torchvision_are_resized() -> None:
    table, index = "features.1.0.attn.relative_position_bias_table", "features.1.0.attn.relative_position_index"
    wanted = {table: torch.zeros(169, 3), index: torch.zeros(2401)}
    found = {table: torch.randn(225, 3), index: torch.zeros(4096)}
    made = torchvision_swin(found, wanted)
    assert made.keys() == {table}
    assert made[table].shape == (169, 3)


@pytest.mark.parametrize(
    ("own", "other"),
    [
        ({"patch_size": 16}, {"patch_size": 8}),
        ({"patch_size": 16}, {"patch_size": 32}),
        ({"class_token": True}, {"reg_tokens": 4}),
        ({"depth": 4}, {"depth": 5}),
    ],
)
def test_weights_of_another_network_are_not_resized_to_fit(own: dict[str, Any], other: dict[str, Any]) -> None:
    make: Callable[..., Any] = timm.models.vision_transformer.VisionTransformer
    target, source = (make(img_size=64, **{**TINY_VIT, **settings}) for settings in (own, other))
    wanted = target.state_dict()
    made, _ = adapted(source.state_dict(), wanted, "w.pt", timm_adapt(target))
    assert refusal(place(wanted, made), wanted, made, "w.pt", "it") is not None


def test_a_distilled_network_keeps_its_two_tokens_and_takes_no_other() -> None:
    make: Callable[..., Any] = timm.models.deit.VisionTransformerDistilled
    small, large = (make(img_size=size, **TINY_VIT) for size in (64, 96))
    info = fill_from(large, {(): small.state_dict()}, "w.pt", "deit", timm_adapt(large))
    assert info.changed == ("positions resized for this image size: pos_embed from (1, 18, 12) to (1, 38, 12)",)
    assert torch.equal(large.state_dict()["pos_embed"][:, :2], small.state_dict()["pos_embed"][:, :2])
    plain: Any = timm.models.vision_transformer.VisionTransformer(img_size=64, **TINY_VIT)
    for target, source in ((plain, small), (small, plain)):
        with pytest.raises(WeightsError, match="pos_embed"):
            fill_from(target, {(): source.state_dict()}, "w.pt", "it", timm_adapt(target))
