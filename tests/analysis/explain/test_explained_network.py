"""Test that a network rebuilt from a run directory gives the predictions of the run."""

import json
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import torch
import yaml
from conftest import SMALLEST, TINY

from headstart.analysis.explain.grad_cam import explain_classes
from headstart.analysis.explain.mistakes import choose
from headstart.analysis.explain.network import Rebuilt, rebuild, settings_of, tolerance
from headstart.cli import main
from headstart.errors import ConfigError, DataError
from headstart.models.loading import read_checkpoint
from headstart.records.names import BEST_NETWORK
from headstart.records.runs import Run, read_run
from headstart.settings.configs import choices

SMALL = [*TINY, *SMALLEST, "dataset.counts=[3,2,2]", "optimizer.lr=0.01"]
SHIPPED = choices("strategy")
MORE = {"adapters": ["strategy.train_stages=[stage2]"], "lora": ["strategy.train_stages=[stage1,stage3]"]}


def trained(*arguments: str) -> Run:
    assert main(["train", *SMALL, "output_dir=o", *arguments]) == 0
    (found,) = (read_run(path.parent) for path in Path("o").rglob("run.json"))
    assert isinstance(found, Run)
    return found


def check(run: Run) -> Rebuilt:
    """Check the rebuilt network without the command's own check."""
    rebuilt = rebuild(run)
    features = rebuilt.verified_features(np.array([3, 1]))
    assert features.shape == (2, rebuilt.strategy.backbone.feature_dim)
    assert not any(parameter.requires_grad for parameter in rebuilt.strategy.parameters())
    if rebuilt.strategy.batch_norm != "batch" and not rebuilt.strategy.averaged_views:
        with torch.no_grad():
            inputs = rebuilt.inputs(rebuilt.positions)
            probabilities = rebuilt.strategy(inputs).softmax(dim=1)
            np.testing.assert_allclose(probabilities, rebuilt.predictions.probabilities, atol=1e-4)
            np.testing.assert_allclose(rebuilt.strategy.features(inputs)[[3, 1]], features, atol=1e-4)
    chosen = choose(rebuilt.predictions, 3)
    maps = explain_classes(rebuilt, chosen, None)
    assert maps.predicted.shape == (len(chosen.rows), maps.stage.side, maps.stage.side)
    assert (maps.predicted >= 0).all()
    return rebuilt


@pytest.mark.slow
@pytest.mark.parametrize("strategy", SHIPPED)
def test_every_strategy(strategy: str) -> None:
    rebuilt = check(trained(f"strategy={strategy}", *MORE.get(strategy, [])))
    content = torch.load(rebuilt.run.directory / "checkpoints/best.ckpt", weights_only=True)["state_dict"]
    state = rebuilt.strategy.state_dict()
    assert state.keys() == content.keys()
    assert all(torch.equal(state[name], tensor) for name, tensor in content.items())


@pytest.mark.slow
@pytest.mark.parametrize(
    "settings",
    [
        ["strategy=finetune_upper", "head.stages=[stage1,stage3]", "head.pooling=gem"],
        ["strategy=finetune_all", "strategy.batch_norm=batch", "dataset.batch_size=7"],
        ["strategy=scratch", "head=cosine"],
        ["strategy=linear_probe", "strategy.views=2", "augmentation=crop_resize"],
        ["strategy=lora", "strategy.train_stages=[stage*]", "augmentation=[crop_resize,mixup]", "callbacks=[ema]"],
        ["strategy=finetune_lower", "trainer.precision=bf16-mixed"],
        ["debug=fast"],
    ],
)
def test_other_settings(settings: list[str]) -> None:
    check(trained(*settings))


def test_the_number_of_neighbours_is_read_back() -> None:
    """The number is not a tensor, so it is read from metrics.csv."""
    run = trained("strategy=knn", "strategy.neighbours=[1,3,8]")
    rebuilt = check(run)
    curve = run.read_curve()
    best = curve.sort_values(["validation/accuracy", "validation/loss"], ascending=[False, True]).iloc[0]
    head: Any = rebuilt.strategy.head
    assert head.neighbours == best["neighbours"]
    head.neighbours = 8 if head.neighbours != 8 else 3
    with pytest.raises(DataError, match="differ from"):
        rebuilt.verified_features(np.array([0]))


def test_changes_are_refused() -> None:
    """Any change is refused: of a weight, an image's class, a setting or a file."""
    run = trained("strategy=head_only")
    file = run.directory / "checkpoints/best.ckpt"
    whole = file.read_bytes()
    content = torch.load(file, weights_only=True)
    content["state_dict"]["head.bias"][0] += 0.05
    torch.save(content, file)
    with pytest.raises(DataError, match=r"predictions differ from predictions\.csv for 24 of 24 images"):
        rebuild(run).verified_features(np.array([0]))
    del content["state_dict"]["head.bias"]
    torch.save(content, file)
    with pytest.raises(DataError, match="does not fit the network"):
        rebuild(run)
    file.write_bytes(whole[: len(whole) // 2])
    with pytest.raises(DataError, match=r"best\.ckpt cannot be read"):
        rebuild(run)
    file.write_bytes(whole)

    predictions = run.directory / "predictions.csv"
    text = predictions.read_text()
    predictions.write_text(text.replace("test/brick/000,brick", "test/brick/000,cat"))
    with pytest.raises(DataError, match="test images have other classes"):
        rebuild(run)
    predictions.write_text(text.replace("test/brick/000", "test/brick/999"))
    with pytest.raises(DataError, match="'test/brick/999' is not among the test images"):
        rebuild(run)
    predictions.write_text(text)

    settings = yaml.safe_load((run.directory / "config.yaml").read_text())
    settings["dataset"]["patch"] = 40
    (run.directory / "config.yaml").write_text(yaml.safe_dump(settings))
    with pytest.raises(DataError, match="the content of test images differs"):
        rebuild(run)


def test_foreign_code_is_refused() -> None:
    folder = Path("run")
    folder.mkdir()
    groups = ["dataset", "backbone", "strategy", "task", "optimizer", "scheduler", "trainer", "seeds"]
    for target in ("os.system", "torch.os.system", "torch.hub.load", "headstart.cli.main", "mine.Strategy", 3):
        settings: dict[str, Any] = {name: {} for name in groups} | {"strategy": {"nested": [{"_target_": target}]}}
        (folder / "config.yaml").write_text(yaml.safe_dump(settings))
        with pytest.raises(ConfigError, match=r"strategy.nested\[0\]._target_"):
            settings_of(folder)
    settings["strategy"] = {"_target_": "headstart.strategies.Lora"}
    settings["logger"] = {"mine": {"_target_": "mine.Logger"}}  # not needed, so not made
    (folder / "config.yaml").write_text(yaml.safe_dump(settings))
    assert settings_of(folder).logger == {}


@pytest.mark.parametrize(
    ("content", "reason"),
    [
        ({"epoch": 0, "state_dict": {0: torch.zeros(1)}}, "its tensors have no names"),
        ({"epoch": float("inf"), "state_dict": {"a": torch.zeros(1)}}, "cannot convert float infinity"),
    ],
)
def test_a_checkpoint_of_odd_content_is_refused(content: dict, reason: str, tmp_path: Path) -> None:
    (tmp_path / "checkpoints").mkdir()
    torch.save(content, tmp_path / "checkpoints" / "best.ckpt")
    with pytest.raises(DataError, match=rf"best\.ckpt cannot be read \({reason}"):
        read_checkpoint(tmp_path, BEST_NETWORK)


def test_coarse_arithmetic_is_allowed_for() -> None:
    class Trainer:
        precision = "32-true"

    cpu, trainer = torch.device("cpu"), Trainer()
    assert tolerance(trainer, cpu, {"hardware": {}}) == 1e-4  # type: ignore[arg-type]
    assert tolerance(trainer, cpu, {"hardware": [1]}) == 1e-4  # type: ignore[arg-type]
    assert tolerance(trainer, cpu, {"hardware": {"gpus": ["one"]}}) == 1e-2  # type: ignore[arg-type]
    trainer.precision = "bf16-mixed"
    assert tolerance(trainer, cpu, json.loads("{}")) == 1e-2  # type: ignore[arg-type]
