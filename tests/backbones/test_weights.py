"""Test weights files: only fitting tensors are loaded, and every failure is one sentence."""

import pickle
import re
from collections.abc import Callable
from pathlib import Path
from typing import Any
from urllib.error import URLError

import pytest
import timm
import torch
import torchvision
from safetensors.torch import save_file

from headstart.backbones import Backbone, efficientnet_lite, timm_backbone, torchvision_backbone
from headstart.backbones.weights import fill
from headstart.errors import ConfigError, WeightsError


def resnet(seed: int) -> torch.nn.Module:
    torch.manual_seed(seed)
    return torchvision.models.resnet18()


WRAPPINGS: dict[str, Callable[[dict], Any]] = {
    "plain": lambda state: state,
    "nested": lambda state: {"state_dict": state, "epoch": 3},
    "prefixed": lambda state: {"model": {f"module.backbone.{k}": v for k, v in state.items()}},
}


@pytest.mark.parametrize("wrapping", list(WRAPPINGS))
def test_state_dicts_are_loaded_whole(wrapping: str, tmp_path: Path) -> None:
    source = resnet(7)
    torch.save(WRAPPINGS[wrapping](source.state_dict()), tmp_path / "w.pt")
    backbone = torchvision_backbone("resnet18", weights=str(tmp_path / "w.pt"), image_size=64)
    assert torch.equal(backbone.stages["stem"][0].weight, source.conv1.weight)  # type: ignore[index,union-attr]
    assert torch.equal(backbone.stages["stage4"][1].bn2.running_var, source.layer4[1].bn2.running_var)  # type: ignore[index,union-attr]
    assert backbone.weights.matched == 1
    assert len(backbone.weights.sha256 or "") == 64


def test_safetensors(tmp_path: Path) -> None:
    source = timm.create_model("resnet18", num_classes=0)
    save_file(source.state_dict(), tmp_path / "w.safetensors")
    backbone = timm_backbone("resnet18", weights=str(tmp_path / "w.safetensors"), image_size=64).eval()
    x = torch.randn(1, 3, 64, 64)
    torch.testing.assert_close(backbone(x), source.eval()(x), rtol=1e-4, atol=1e-5)


@pytest.mark.parametrize("value", [float("nan"), float("inf"), 1e300])
def test_nan_and_infinity_are_refused(value: float, tmp_path: Path) -> None:
    state = {name: tensor.double() for name, tensor in resnet(0).state_dict().items()}
    state["layer2.0.conv1.weight"][0, 0, 0, 0] = value
    torch.save(state, tmp_path / "w.pt")
    with pytest.raises(WeightsError, match=r"layer2.0.conv1.weight holds NaN or infinity"):
        torchvision_backbone("resnet18", weights=str(tmp_path / "w.pt"), image_size=64)


def test_unused_sub_networks_are_listed(tmp_path: Path) -> None:
    state = {f"net.encoder.{name}": tensor for name, tensor in resnet(0).state_dict().items()}
    others = ("net.decoder.out.weight", "net.decoder.out.bias", "loss.centres")
    torch.save(state | {name: torch.ones(2) for name in others}, tmp_path / "w.pt")
    backbone = torchvision_backbone("resnet18", weights=str(tmp_path / "w.pt"), image_size=64)
    assert backbone.weights.unused == ("net.decoder (2 tensors)", "loss (1 tensor)")
    torch.save({f"_orig_mod.module.{name}": one for name, one in resnet(0).state_dict().items()}, tmp_path / "c.pt")
    assert torchvision_backbone("resnet18", weights=str(tmp_path / "c.pt"), image_size=64).weights.unused == ()


def test_a_folder_is_refused_as_a_folder(tmp_path: Path) -> None:
    with pytest.raises(WeightsError, match=r"this is a folder; name a file in it, or .*local-dir:"):
        torchvision_backbone("resnet18", weights=str(tmp_path), image_size=64)


def test_a_traced_program_is_refused_without_a_warning(tmp_path: Path, recwarn: pytest.WarningsRecorder) -> None:
    torch.jit.save(torch.jit.script(torch.nn.Linear(1, 1)), str(tmp_path / "w.pt"))
    recwarn.clear()
    with pytest.raises(WeightsError, match="is not a weights file"):
        torchvision_backbone("resnet18", weights=str(tmp_path / "w.pt"), image_size=64)
    assert not recwarn.list


def test_a_poor_fit_is_refused_with_its_share(tmp_path: Path) -> None:
    torch.save(torchvision.models.resnet34().state_dict(), tmp_path / "w.pt")
    state = resnet(0).state_dict()
    torch.save({k: v for k, v in state.items() if "layer4" not in k}, tmp_path / "half.pt")
    with pytest.raises(WeightsError, match=r"fills \d+% of the tensors of resnet18"):
        torchvision_backbone("resnet18", weights=str(tmp_path / "half.pt"), image_size=64)
    with pytest.raises(WeightsError, match=r"fills \d+%"):
        torchvision_backbone("vgg16", weights=str(tmp_path / "w.pt"), image_size=64)


def test_a_tensor_of_another_shape_is_refused(tmp_path: Path) -> None:
    state = resnet(0).state_dict()
    state["conv1.weight"] = torch.zeros(64, 3, 3, 3)
    torch.save(state, tmp_path / "w.pt")
    with pytest.raises(WeightsError, match=r"conv1.weight has shape \(64, 3, 3, 3\)"):
        torchvision_backbone("resnet18", weights=str(tmp_path / "w.pt"), image_size=64)


def old_format(name: str) -> dict[str, torch.Tensor]:
    """Return weights in torchvision's old format: without counters, and with old names of DenseNet's layers."""
    torch.manual_seed(4)
    state = torchvision.models.get_model(name, weights=None).state_dict()
    state = {key: value + 0.01 for key, value in state.items() if "num_batches_tracked" not in key}
    return {re.sub(r"(denselayer\d+\.(?:norm|conv))([12])\.", r"\1.\2.", key): value for key, value in state.items()}


@pytest.mark.parametrize("name", ["resnet18", "densenet121", "mobilenet_v3_small"])
@pytest.mark.parametrize("how", ["imagenet", "file"])
def test_old_files_of_torchvision_are_loaded_whole(
    name: str, how: str, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    state = old_format(name)
    assert name != "densenet121" or any(".norm.1.weight" in key for key in state)
    torch.save(state, tmp_path / "w.pth")
    monkeypatch.setattr("torchvision.models._api.load_state_dict_from_url", lambda *args, **kwargs: state)
    weights = "imagenet" if how == "imagenet" else str(tmp_path / "w.pth")
    backbone = torchvision_backbone(name, weights=weights, image_size=64)
    assert backbone.weights.matched == 1
    assert backbone.weights.missing == ()
    first = next(value for value in state.values() if value.ndim == 4)
    assert torch.equal(next(backbone.parameters()), first)


@pytest.mark.parametrize(
    "make",
    [
        lambda **kwargs: torchvision_backbone("resnet18", image_size=64, **kwargs),
        lambda **kwargs: timm_backbone("convnext_atto", image_size=64, **kwargs),
        lambda **kwargs: efficientnet_lite("efficientnet_lite0", image_size=64, **kwargs),
    ],
)
def test_the_checkpoint_of_a_run_is_a_weights_file(make: Callable[..., Backbone], tmp_path: Path) -> None:
    source = make(weights=None, seed=9)
    state = {f"backbone.{key}": value for key, value in source.state_dict().items()}
    torch.save({"state_dict": state | {"head.weight": torch.zeros(2, 2)}, "epoch": 3}, tmp_path / "best.ckpt")
    target = make(seed=1, weights=str(tmp_path / "best.ckpt"))
    assert target.weights.matched == 1
    for key, value in target.state_dict().items():
        assert torch.equal(value, source.state_dict()[key]), key
    if source.name == "efficientnet_lite0":  # at another size, where stages fall otherwise
        small = efficientnet_lite("efficientnet_lite0", str(tmp_path / "best.ckpt"), 32)
        assert small.weights.matched == 1
        assert torch.equal(next(small.parameters()), next(source.parameters()))


def test_tensors_missing_in_a_file_are_named(tmp_path: Path) -> None:
    state = resnet(0).state_dict()
    torch.save({key: value for key, value in state.items() if key != "bn1.bias"}, tmp_path / "w.pt")
    backbone = torchvision_backbone("resnet18", weights=str(tmp_path / "w.pt"), image_size=64)
    assert backbone.weights.missing == ("bn1.bias",)
    assert backbone.weights.matched == pytest.approx(0.99, abs=0.005)


@pytest.mark.slow
def test_positions_are_stretched_to_another_size(tmp_path: Path) -> None:
    torch.save(torchvision.models.vit_b_16().state_dict(), tmp_path / "w.pt")
    backbone = torchvision_backbone("vit_b_16", weights=str(tmp_path / "w.pt"), image_size=64)
    assert backbone.weights.matched == 1
    assert backbone(torch.zeros(1, 3, 64, 64)).shape == (1, 768)


def test_nothing_but_tensors_is_unpickled(tmp_path: Path) -> None:
    class Evil:
        def __reduce__(self) -> tuple[Any, tuple[str]]:
            return Path.touch, (tmp_path / "ran",)  # type: ignore[return-value]

    (tmp_path / "w.pt").write_bytes(pickle.dumps(Evil()))
    torch.save({"model": Evil()}, tmp_path / "w2.pt")
    (tmp_path / "text.pt").write_text("just some text")
    (tmp_path / "text.safetensors").write_text("just some text")
    for name in ("w.pt", "w2.pt", "text.pt", "text.safetensors"):
        with pytest.raises(WeightsError, match="not a weights file"):
            torchvision_backbone("resnet18", weights=str(tmp_path / name), image_size=64)
    assert not (tmp_path / "ran").exists()
    with pytest.raises(WeightsError, match="no such file"):
        torchvision_backbone("resnet18", weights=str(tmp_path / "none.pt"), image_size=64)


def test_a_failed_download_says_what_to_fetch(monkeypatch: pytest.MonkeyPatch, tmp_path: Path) -> None:
    def fail(*args: Any, **kwargs: Any) -> None:
        raise URLError("no network")

    monkeypatch.setenv("TORCH_HOME", str(tmp_path))
    monkeypatch.setattr("torch.hub.load_state_dict_from_url", fail)
    monkeypatch.setattr("torchvision.models._api.load_state_dict_from_url", fail)
    with pytest.raises(WeightsError, match=r"https://download.pytorch.org/models/resnet18-\w+.pth to .*checkpoints"):
        torchvision_backbone("resnet18", weights="imagenet", image_size=64)


@pytest.mark.filterwarnings("ignore:Validating sparse tensor")
@pytest.mark.parametrize(
    ("change", "message"),
    [
        (lambda tensor: tensor.to_sparse(), "its tensor conv1.weight is not dense"),
        (lambda tensor: tensor.to("meta"), "its tensor conv1.weight has no values"),
        (
            lambda tensor: tensor.to(torch.complex64),
            "its tensor conv1.weight holds complex64, but",
        ),
        (lambda tensor: tensor > 0, "its tensor conv1.weight holds bool, but resnet18 needs float32"),
    ],
)
def test_tensors_of_an_odd_kind_are_refused(change: Callable[..., Any], message: str, tmp_path: Path) -> None:
    state = resnet(0).state_dict()
    torch.save({**state, "conv1.weight": change(state["conv1.weight"])}, tmp_path / "w.pt")
    with pytest.raises(WeightsError, match=message):
        torchvision_backbone("resnet18", weights=str(tmp_path / "w.pt"), image_size=64)


@pytest.mark.parametrize("key", [5, (1, 2)])
def test_tensors_without_a_name_are_skipped(key: object, tmp_path: Path) -> None:
    source = resnet(7)
    torch.save({**source.state_dict(), key: torch.zeros(1)}, tmp_path / "w.pt")
    backbone = torchvision_backbone("resnet18", weights=str(tmp_path / "w.pt"), image_size=64)
    assert backbone.weights.matched == 1
    torch.save({key: torch.zeros(1)}, tmp_path / "w.pt")
    with pytest.raises(WeightsError, match="is not a weights file"):
        torchvision_backbone("resnet18", weights=str(tmp_path / "w.pt"), image_size=64)


def test_tensors_that_cannot_be_copied_are_refused_in_one_sentence() -> None:
    network = torch.nn.Module()
    network.register_buffer("shared", torch.zeros(1).expand(4))  # four values in one place
    with pytest.raises(WeightsError, match=r"w\.pt cannot be loaded into it \(.*memory location"):
        fill(network, {"shared": torch.arange(4.0)}, "w.pt", "it")


@pytest.mark.parametrize("path", ["~nosuchuser/w.pt", "x" * 5000])
def test_an_impossible_path_is_no_file(path: str) -> None:
    for make in (torchvision_backbone, timm_backbone):
        with pytest.raises(WeightsError, match="there is no such file"):
            make("resnet18", weights=path, image_size=64)


@pytest.mark.parametrize(
    ("name", "weights", "message"),
    [
        (
            "resnet18.nosuchtag",
            None,
            "'resnet18' has no weights with the tag 'nosuchtag'. Choose one of: resnet18.a1_in",
        ),
        ("resnet18.a1_in2k", "imagenet", "Did you mean 'resnet18.a1_in1k'?"),
        (5, None, "timm has no network '5'"),
    ],
)
def test_wrong_names_of_timm(name: Any, weights: str | None, message: str) -> None:
    with pytest.raises(ConfigError, match=re.escape(message)):
        timm_backbone(name, weights=weights, image_size=64)
