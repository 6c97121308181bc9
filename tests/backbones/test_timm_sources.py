"""Test timm's networks from a folder or from the hub."""

import json
from pathlib import Path
from typing import Any

import pytest
import timm
import torch
from conftest import TINY, runs_below
from safetensors.torch import load_file, save_file

from headstart.backbones import timm_backbone
from headstart.cli import main
from headstart.errors import ConfigError, WeightsError
from headstart.settings.identity import config_hash


@pytest.fixture
def folder(tmp_path: Path) -> Path:
    """Return a folder with a network and its weights, as timm saves it."""
    torch.manual_seed(5)
    network = timm.create_model("test_resnet", num_classes=3)
    timm.models.save_for_hf(network, str(tmp_path / "my net"), safe_serialization=True)
    return tmp_path / "my net"


def test_a_folder_is_a_network_with_its_weights(folder: Path) -> None:
    name = f"local-dir:{folder}"
    backbone = timm_backbone(name, "imagenet", image_size=32)
    weights = load_file(folder / "model.safetensors")
    assert torch.equal(next(backbone.parameters()), weights["conv1.0.weight"])
    assert (backbone.weights.matched, backbone.weights.name) == (1, "model.safetensors")
    assert backbone.weights.unused == ()  # but for the classifier
    random = timm_backbone(name, None, image_size=32)
    assert random.weights.name is None
    assert not torch.equal(next(random.parameters()), weights["conv1.0.weight"])
    torch.save(weights, folder.parent / "w.pt")
    assert timm_backbone(name, str(folder.parent / "w.pt"), image_size=32).weights.matched == 1


def test_a_saved_network_of_another_size_or_other_channels(tmp_path: Path) -> None:
    make = {"img_size": 64, "in_chans": 1}
    network = timm.create_model("test_vit", num_classes=3, **make)
    timm.models.save_for_hf(network, str(tmp_path / "vit"), model_args=make, safe_serialization=True)
    for size in (None, 64, 160):
        backbone = timm_backbone(f"local-dir:{tmp_path / 'vit'}", "imagenet", image_size=size)
        assert backbone.weights.matched == 1
        assert len(backbone.weights.changed) == 2 - (size == 64), "grey, and positions"


@pytest.mark.parametrize(
    ("spoil", "message"),
    [
        (lambda folder: folder.rename(folder.parent / "else"), "there is no folder '"),
        (lambda folder: (folder / "config.json").unlink(), "the folder holds no config.json"),
        (lambda folder: (folder / "config.json").write_text("{"), "does not describe a timm network (JSON"),
        (lambda folder: (folder / "config.json").write_text("{}"), "does not describe a timm network (KeyError"),
        (lambda folder: (folder / "config.json").write_text('{"architecture": "mynet"}'), "Unknown model (mynet)"),
        (lambda folder: (folder / "model.safetensors").unlink(), "the folder holds no weights (expected model.safe"),
        (lambda folder: (folder / "model.safetensors").write_text("text"), "is not a weights file"),
        (lambda folder: save_file({"a.weight": torch.zeros(3)}, folder / "model.safetensors"), "fills 0% of the"),
    ],
)
def test_a_folder_that_holds_no_network_is_refused_in_one_sentence(folder: Path, spoil: Any, message: str) -> None:
    spoil(folder)
    with pytest.raises((ConfigError, WeightsError)) as refused:
        timm_backbone(f"local-dir:{folder}", "imagenet", image_size=32)
    assert message in str(refused.value)
    assert "\n" not in str(refused.value)


@pytest.mark.parametrize("name", ["local-dir:", "hf-hub:", "hf_hub: "])
def test_an_empty_place_is_refused(name: str) -> None:
    with pytest.raises(ConfigError, match="expected local-dir:FOLDER or hf-hub:USER/MODEL"):
        timm_backbone(name, weights=None)


def test_the_hub(folder: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    import timm.models._factory as factory
    import timm.models._hub as hub

    def fails(*args: Any, **kwargs: Any) -> None:
        raise OSError("no network")

    monkeypatch.setattr(hub, "hf_hub_download", fails)
    for name in ("hf-hub:me/mine", "hf_hub:me/mine"):
        with pytest.raises(
            WeightsError, match=r"could not be downloaded \(OSError\): fetch config.json and model.safe"
        ):
            timm_backbone(name, "imagenet", image_size=32)
    monkeypatch.setattr(
        factory, "load_model_config_from_hf", lambda *args, **_: hub.load_model_config_from_path(folder)
    )
    monkeypatch.setattr(
        timm.models, "load_state_dict_from_hf", lambda *args, **_: load_file(folder / "model.safetensors")
    )
    backbone = timm_backbone("hf-hub:me/mine", "imagenet", image_size=32)
    assert (backbone.weights.name, backbone.weights.matched) == ("hf-hub:me/mine", 1)
    assert torch.equal(next(backbone.parameters()), load_file(folder / "model.safetensors")["conv1.0.weight"])


@pytest.mark.slow
def test_a_run_of_a_folder(folder: Path, capsys: pytest.CaptureFixture[str]) -> None:
    tiny = [setting for setting in TINY if not setting.startswith("backbone.weights")]
    command = ["train", *tiny, "strategy=linear_probe", "backbone=timm", f'backbone.name="local-dir:{folder}"']
    assert main([*command, "output_dir=o"]) == 0
    (run,) = runs_below(Path("o"))
    assert run["backbone"] == f"local-dir:{folder}"
    assert run["provenance"]["weights"]["matched"] == 1
    assert next(path.parent.name for path in Path("o").rglob("run.json")).startswith("textures-my_net-linear_probe-")
    assert main(["report", "o", "--no-figures"]) == 0
    assert "my net" in capsys.readouterr().out
    assert main([*command, "output_dir=o2", f'backbone.name="local-dir:{folder}x"']) == 2
    assert f"there is no folder '{folder}x'" in capsys.readouterr().err


def test_a_folder_counts_by_content(folder: Path) -> None:
    def hashed(weights: str | None, at: Path = folder) -> str:
        return config_hash({"backbone": {"name": f"local-dir:{at}", "weights": weights}})

    before = hashed("imagenet"), hashed(None)
    moved = folder.rename(folder.parent / "moved")
    assert (hashed("imagenet", moved), hashed(None, moved)) == before
    weights = {name: tensor + 1 for name, tensor in load_file(moved / "model.safetensors").items()}
    save_file(weights, moved / "model.safetensors")
    assert hashed("imagenet", moved) != before[0]
    assert hashed(None, moved) == before[1]
    description = json.loads((moved / "config.json").read_text())
    (moved / "config.json").write_text(json.dumps({**description, "num_classes": 9}))
    assert hashed(None, moved) != before[1]
