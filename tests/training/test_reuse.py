"""Test that cached features change nothing: the same curve, epoch and test scores."""

import itertools
import json
import re
from pathlib import Path
from typing import Any

import numpy as np
import pandas as pd
import pytest
import torch
from conftest import SMALLEST, TINY, runs_below

from headstart.backbones import efficientnet_lite
from headstart.cli import main
from headstart.features import keeping, store

COUNTER = itertools.count()


def trained(*settings: str, into: str = "features.dir=kept") -> tuple[dict[str, Any], pd.DataFrame]:
    folder = Path(f"out{next(COUNTER)}")
    network = [] if any(setting.startswith("backbone=") for setting in settings) else SMALLEST
    assert main(["train", *TINY, *network, into, *settings, f"output_dir={folder}"]) == 0
    [found] = runs_below(folder)
    [curve] = folder.rglob("metrics.csv")
    return found, pd.read_csv(curve)


@pytest.mark.slow
@pytest.mark.parametrize(
    ("backbone", "strategy", "engine"),
    [
        ("mobilenet_v3_small", "head_only", "auto"),
        ("resnet18", "head_only", "onnxruntime"),
        ("efficientnet_lite0", "finetune_upper", "auto"),
    ],
)
def test_stored_features_change_nothing(backbone: str, strategy: str, engine: str, two_threads: None) -> None:
    settings = [f"backbone={backbone}", f"strategy={strategy}", "trainer.max_epochs=3", "optimizer.lr=0.01"]
    if strategy == "finetune_upper":
        settings.append("strategy.stages=1")
    plain, curve = trained(*settings, "features.enabled=false")
    computed, first = trained(*settings, f"features.engine={engine}")
    found, second = trained(*settings, f"features.engine={engine}")
    assert plain["features"] is None
    assert (computed["features"]["hit"], found["features"]["hit"]) == (False, True)
    assert plain["best_epoch"] == computed["best_epoch"] == found["best_epoch"]
    for other in (computed, found):
        assert other["metrics"] == pytest.approx(plain["metrics"], rel=1e-5, abs=1e-5)
    scores = [name for name in curve if name.startswith(("train/", "validation/"))]
    pd.testing.assert_frame_equal(first[scores], curve[scores], rtol=1e-5, atol=1e-5)
    pd.testing.assert_frame_equal(second[scores], first[scores], rtol=0, atol=0)  # bit for bit
    assert computed["metrics"] == found["metrics"]


def test_a_sweep_shares_frozen_features() -> None:
    settings = ["-m", "strategy=head_only,linear_probe", "seed=0,1", "seeds.backbone=0"]
    assert main(["train", *TINY, *SMALLEST, *settings, "output_dir=sweep"]) == 0
    runs = sorted(runs_below(Path("sweep")), key=lambda run: run["started_at"])
    assert [run["features"]["hit"] for run in runs] == [False] + 3 * [True]
    assert len(list(Path("sweep/.features").glob("*/entry.json"))) == 1


def test_a_run_starts_from_an_untouched_network() -> None:
    """The next run in the process does not start from the network that this run has trained."""
    runs = [trained("strategy=finetune_all", "trainer.max_epochs=1", "optimizer.lr=0.1")[0] for _ in range(2)]
    assert runs[0]["metrics"] == runs[1]["metrics"]
    assert runs[0]["provenance"]["weights"] == runs[1]["provenance"]["weights"]
    other, _ = trained("strategy=finetune_all", "trainer.max_epochs=1", "optimizer.lr=0.1", "seeds.backbone=5")
    assert other["metrics"] != runs[0]["metrics"]


def test_nothing_is_cached_if_the_lowest_stage_is_trained() -> None:
    for strategy in ("finetune_all", "finetune_lower"):
        assert trained(f"strategy={strategy}", "trainer.max_epochs=1")[0]["features"] is None
    assert not list(Path("kept").glob("*/entry.json"))


def test_augmented_training_stays_exact_unless_views_are_asked_for(caplog: pytest.LogCaptureFixture) -> None:
    settings = ["augmentation=crop_resize", "trainer.max_epochs=4"]
    plain, curve = trained(*settings, "features.enabled=false")
    exact, same = trained(*settings)
    assert exact["metrics"] == pytest.approx(plain["metrics"], rel=1e-5, abs=1e-5)
    assert set(exact["features"]["splits"]) == {"validation", "test"}
    views, other = trained(*settings, "features.views=2")
    assert views["features"]["splits"]["train"]["rows"] == 2 * 72
    assert views["config_hash"] != exact["config_hash"] == plain["config_hash"]
    scores = [name for name in curve if name.startswith(("train/", "validation/"))]
    pd.testing.assert_frame_equal(same[scores], curve[scores], rtol=1e-5, atol=1e-5)
    pd.testing.assert_frame_equal(other[scores][:2], curve[scores][:2], rtol=1e-5, atol=1e-5)
    assert abs(other["train/loss"][2] - curve["train/loss"][2]) > 1e-4
    [log] = [path for path in Path().rglob("run.log") if "views=2" in path.read_text()]
    assert "views of the first 2 epochs are cached and repeated" in log.read_text()


def test_views_and_mixes_exclude_each_other(capsys: pytest.CaptureFixture[str]) -> None:
    arguments = ["train", *TINY, "features.views=2", "augmentation=mixup"]
    assert main(arguments) == 2
    assert "features.views=2 caches views of single images, but mixup mixes batches" in capsys.readouterr().err
    assert main([*arguments, "strategy=finetune_all"]) == 0  # nothing is frozen, so nothing is kept


@pytest.mark.parametrize("setting", ["debug=fast", "trainer.precision=64-true", "features.enabled=false"])
def test_views_that_cannot_be_kept_are_refused(setting: str, capsys: pytest.CaptureFixture[str]) -> None:
    assert main(["train", *TINY, "features.views=2", "augmentation=crop_resize", setting]) == 2
    assert re.search(r"features.views=2 (cannot be cached|needs features.enabled=true)", capsys.readouterr().err)


def test_views_without_room_are_refused(capsys: pytest.CaptureFixture[str]) -> None:
    settings = ["augmentation=crop_resize", "features.views=2", "features.max_size=10", "features.memory_limit=0"]
    assert main(["train", *TINY, *settings]) == 2
    assert "2 views per image fit neither in memory nor on disk" in capsys.readouterr().err


def test_no_group_of_features_means_none() -> None:
    assert trained("trainer.max_epochs=1", into="~features")[0]["features"] is None


def test_checkpoints_are_whole(tmp_path: Path) -> None:
    """best.ckpt is complete for any way of saving epochs."""
    trained("strategy=finetune_upper", "trainer.max_epochs=2", "backbone=efficientnet_lite0")
    [checkpoint] = Path().rglob("checkpoints/*.ckpt")
    assert checkpoint.name == "best.ckpt"
    state = torch.load(checkpoint, weights_only=True)["state_dict"]
    start = efficientnet_lite("efficientnet_lite0", None, 32).state_dict()
    assert {f"backbone.{name}" for name in start} <= state.keys()
    assert main(["train", *TINY, f"backbone.weights={checkpoint}", "output_dir=next", "trainer.max_epochs=1"]) == 0
    [found] = runs_below(Path("next"))
    assert found["provenance"]["weights"]["matched"] == 1.0


@pytest.mark.parametrize("setting", ["+trainer.limit_train_batches=1", "debug=fast", "trainer.precision=64-true"])
def test_the_reason_why_nothing_is_cached_is_named(setting: str, capsys: pytest.CaptureFixture[str]) -> None:
    found, _ = trained(setting, "trainer.max_epochs=1")
    assert found["features"] is None
    assert "features are not cached" in capsys.readouterr().out


@pytest.mark.parametrize(
    ("setting", "message"),
    [
        ("features.engine=onnxruntme", "features.engine=onnxruntme: there is no such engine. Did you mean"),
        ("features.views=none", "features.views=none: expected the number of augmented views"),
        ("features.max_size=lots", "features.max_size=lots: expected a size"),
        ("features.speed=9", "unexpected keyword|speed"),
    ],
)
def test_wrong_settings_are_refused(setting: str, message: str, capsys: pytest.CaptureFixture[str]) -> None:
    assert main(["train", *TINY, f"+{setting}" if "speed" in setting else setting]) == 2
    assert re.search(message, capsys.readouterr().err)


def test_a_folder_that_cannot_be_written_costs_no_run(tmp_path: Path) -> None:
    (tmp_path / "blocked").write_text("")
    found, _ = trained("features.dir=blocked")
    assert found["status"] == "finished"
    assert not found["features"]["hit"]
    assert not any(split["kept"] for split in found["features"]["splits"].values())


def test_features_of_another_network_are_an_error_that_names_them(capsys: pytest.CaptureFixture[str]) -> None:
    trained("trainer.max_epochs=1")
    [about] = Path("kept").glob("*/entry.json")
    for part in about.parent.glob("*/part.json"):  # whole and of the right form, with other numbers
        content = json.loads(part.read_text())
        values = np.load(part.parent / "values.npy")
        entry = store.Entry(store.Store(Path("kept"), 10**9), about.parent, {})
        names = np.load(part.parent / "rows.npy")
        store.remove(part.parent)
        writer = entry.writer(names, values.shape[1:], values.dtype)
        writer.put(values + 1)
        writer.commit(content["seconds"])
    keeping._PROBED.clear()
    assert main(["train", *TINY, *SMALLEST, "features.dir=kept", "output_dir=again"]) == 2
    assert f"kept/{about.parent.name} differ from the output of test_efficientnet" in capsys.readouterr().err
    assert main(["features", "clear", about.parent.name, "--dir", "kept"]) == 0
    assert main(["train", *TINY, *SMALLEST, "features.dir=kept", "output_dir=again"]) == 0


def test_a_run_ends_with_time_spent_and_saved(capsys: pytest.CaptureFixture[str]) -> None:
    trained("trainer.max_epochs=1")
    trained("trainer.max_epochs=1")
    told = [line for line in capsys.readouterr().out.splitlines() if line.startswith("features:")]
    assert re.fullmatch(r"features: computed, [\d.]+ MB; [\d.]+ s spent on them, [\d.]+ s saved", told[0])
    assert re.fullmatch(r"features: all found, [\d.]+ MB; [\d.]+ s spent on them, [\d.]+ s saved", told[1])
