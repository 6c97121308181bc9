"""Test that headstart and other libraries do the same work, and that a missing library is named."""

import re
import subprocess
from collections.abc import Callable
from pathlib import Path
from types import ModuleType, SimpleNamespace

import pytest
import torch
from conftest import CHECKOUT
from forking import Server
from torch import nn


@pytest.fixture
def peers(warm: Server, monkeypatch: pytest.MonkeyPatch) -> ModuleType:
    """Return the module, whose commands run in copied processes."""
    monkeypatch.syspath_prepend(CHECKOUT / "scripts")
    from benchmarks import measured, peers

    monkeypatch.setattr(measured, "subprocess", SimpleNamespace(run=warm.run))
    return peers


@pytest.mark.slow
def test_peers_do_the_same_work(peers: ModuleType, make_folder: Callable[..., Path]) -> None:
    """The measured times mean nothing here, as the commands run in copied processes. Not all libraries are here."""
    names = [name for name, peer in peers.PEERS.items() if all(map(peers.is_installed, peer.packages))]
    assert {"plain", "timm"} <= set(names)
    root = make_folder({"train/red": 9, "train/blue": 9, "test/red": 4, "test/blue": 4})
    small = ["dataset.num_workers=0", "trainer.accelerator=cpu"]
    rows = list(peers.finetune_all(str(root), names, ["test_vit"], [32], 8, 16, 1, 1, small))
    labels = [f"{peers.PEERS[name].label} / headstart" for name in names]
    assert [row.what for row in rows] == [f"test_vit, 32 px: {of}" for of in labels]
    for name, row in zip(names, rows, strict=True):
        assert float(row.ratio) > 0
        assert row.figures.endswith("; 1 epochs of 16 images")
        accuracies = re.search(r"validation accuracy (\d+\.\d) % / (\d+\.\d) %", row.figures)
        if name == "arithmetic":  # it learns from one batch again and again
            assert (row.aim, accuracies) == ("", None)
            continue
        assert row.aim == "2.0"
        assert accuracies
        assert all(float(accuracy) % 25 == 0 for accuracy in accuracies.groups())  # of four images


@pytest.mark.parametrize("name", ["test_vit", "resnet18"])
def test_both_sides_start_from_the_same_network(name: str, peers: ModuleType, tmp_path: Path) -> None:
    from benchmarks.networks import make_backbone

    for label in ("red", "blue"):
        (tmp_path / "images/train" / label).mkdir(parents=True)
    work = peers.work_for(name, 32, tmp_path / "images", 8, 1)
    theirs, ours = work.network().eval(), make_backbone(name, 32, work.weights).eval()
    head = next(part for part in reversed(list(theirs.modules())) if isinstance(part, nn.Linear))
    images = torch.rand(2, 3, 32, 32)
    with torch.no_grad():
        assert torch.equal(theirs(images), head(ours(images)))


def test_heads_of_timm_start_with_small_weights(peers: ModuleType, tmp_path: Path) -> None:
    """timm starts those of EfficientNet with weights so large that fine-tuning needs more epochs."""
    for number in range(15):
        (tmp_path / f"images/train/{number}").mkdir(parents=True)
    head = peers.work_for("tf_efficientnet_lite0", 32, tmp_path / "images", 8, 1).network().classifier
    assert head.weight.abs().max() <= head.in_features**-0.5


def test_the_learning_rate_of_timm_is_that_of_the_plain_loop(peers: ModuleType) -> None:
    from peers.timm_loop import schedule

    steps, rate = 60, 0.0002
    optimizer = torch.optim.AdamW([nn.Parameter(torch.zeros(1))], lr=rate)
    scheduler, rates = schedule(optimizer, steps), []
    for step in range(steps):
        scheduler.step_update(step)
        rates.append(optimizer.param_groups[0]["lr"])
    work = peers.Work(*["x"] * 4, *[1] * 6, *[(0.5,)] * 2, *["x"] * 2)  # type: ignore[arg-type]
    assert rates == pytest.approx([rate * work.factor(step, steps) for step in range(steps)], abs=0.1 * rate)


def test_images_are_whole_batches_of_classes_in_turn(
    peers: ModuleType, make_folder: Callable[..., Path], tmp_path: Path
) -> None:
    root = make_folder({"train/red": 9, "train/blue": 5, "test/red": 4, "test/blue": 4})
    assert peers.copy_images(str(root), tmp_path / "copies" / "images", 12, 5) == 10
    found = {
        folder: len(list((tmp_path / "copies/images" / folder).iterdir()))
        for folder in ("train/red", "train/blue", "val/red", "val/blue", "test/red", "test/blue")
    }
    assert found == {"train/red": 5, "train/blue": 5, "val/red": 1, "val/blue": 2, "test/red": 1, "test/blue": 1}


def test_folders_that_cannot_be_compared_are_named(
    peers: ModuleType, make_folder: Callable[..., Path], tmp_path: Path
) -> None:
    root = make_folder({"train/red": 3, "train/blue": 3})
    with pytest.raises(SystemExit, match="expected class folders below train, and below val or test"):
        peers.copy_images(str(root), tmp_path / "copies" / "images", 12, 5)
    root = make_folder({"train/red": 3, "val/red": 3}, "few")
    with pytest.raises(SystemExit, match=r"3 images in .*: expected at least a batch of 5"):
        peers.copy_images(str(root), tmp_path / "copies" / "images", 12, 5)


def test_the_command_offers_every_peer(peers: ModuleType) -> None:
    import benchmark

    assert list(peers.PEERS) == benchmark.PEERS


def test_textures_stand_in_for_a_folder(peers: ModuleType, tmp_path: Path) -> None:
    assert peers.copy_images(None, tmp_path / "images", 24, 24) == 24
    assert len(list((tmp_path / "images/train").iterdir())) == 12


def test_a_missing_package_is_named_with_the_command_that_installs_it(
    peers: ModuleType, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str], tmp_path: Path
) -> None:
    asked: list[list[str]] = []

    def refused(command: list[str], **_: object) -> subprocess.CompletedProcess[str]:
        asked.append(command)
        return subprocess.CompletedProcess(command, 1)

    monkeypatch.setenv("XDG_CACHE_HOME", str(tmp_path))
    monkeypatch.setattr(peers, "subprocess", SimpleNamespace(run=refused))
    monkeypatch.setattr(peers, "is_installed", lambda requirement: requirement == "psutil")
    assert peers.is_ready(peers.PEERS["plain"])
    assert not asked
    assert not peers.is_ready(peers.PEERS["transformers"])
    assert len(asked) == 1
    assert "--no-deps" in asked[0]
    assert capsys.readouterr().err == (
        "peers: no rows for Hugging Face Trainer, because this command failed: pip install --no-deps"
        f" --target {peers.packages()} transformers accelerate tokenizers regex\n"
    )
