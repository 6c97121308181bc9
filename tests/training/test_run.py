"""Test that a run directory is complete, and that its numbers agree with each other and repeat."""

import json
from pathlib import Path

import numpy as np
import pandas as pd
import pytest
import torch
import yaml
from conftest import SMALLEST, TINY, runs_below
from sklearn.metrics import accuracy_score, log_loss

from headstart.backbones import efficientnet_lite
from headstart.cli import main
from headstart.data import ImageData
from headstart.features.frozen_data import FrozenData

PRETRAINED = [setting for setting in TINY if not setting.startswith("backbone.weights")]


def train(*arguments: str, into: str = "o", tiny: list[str] = TINY) -> Path:
    assert main(["train", *tiny, f"output_dir={into}", *arguments]) == 0
    (found,) = (path.parent for path in Path(into).rglob("run.json"))
    return found


@pytest.fixture(scope="module")
def finished(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """Run finetune_lower once, with views, mixes and a reference."""
    return train(
        "strategy=finetune_lower",
        "augmentation=[crop_resize,mixup]",
        "references=[raw_pixels]",
        into=str(tmp_path_factory.mktemp("runs")),
    )


def test_the_directory_is_complete(finished: Path) -> None:
    found = {path.relative_to(finished).as_posix() for path in finished.rglob("*") if "tfevents" not in path.name}
    found -= {"code.patch"}  # where headstart's own code was changed
    boards = {"tensorboard", *(f"tensorboard/{split}" for split in ("train", "validation", "test"))}
    assert found == boards | {
        "config.yaml", "run.json", "metrics.csv", "predictions.csv", "validation_predictions.csv", "run.log",
        "packages.txt", "checkpoints", "checkpoints/best.ckpt", "checkpoints/model.json",
        "checkpoints/model_features.safetensors",
    }  # fmt: skip
    assert finished.name.startswith("textures-efficientnet_lite0-finetune_lower-seed0-")
    assert "finetune" in (finished / "run.log").read_text().lower()


def test_the_manifest_keeps_its_contract(finished: Path) -> None:
    run = json.loads((finished / "run.json").read_text())
    assert run["schema"] == 1
    assert run["status"] == "finished"
    assert run["error"] is None
    assert (run["dataset"], run["backbone"], run["strategy"]) == ("textures", "efficientnet_lite0", "finetune_lower")
    assert run["augmentation"] == ["crop_resize", "mixup"]
    assert run["config_hash"].startswith(finished.name.rsplit("-", 1)[1])
    assert {"validation/accuracy", "validation/loss", "test/accuracy", "test/loss"} <= run["metrics"].keys()
    cost = run["cost"]
    assert 0 < cost["train_seconds"] < cost["wall_seconds"]
    assert cost["epochs"] == 2
    assert cost["samples_per_second"] > 0
    assert cost["peak_memory_bytes"] > 2**20
    assert 0 < cost["trainable_parameters"] < cost["total_parameters"]
    provenance = run["provenance"]
    assert len(provenance["dataset_fingerprint"]) == 64
    assert provenance["packages"]["torch"] == torch.__version__.split("+")[0]
    assert {"git_commit", "git_dirty", "hardware", "weights"} <= provenance.keys()
    assert provenance["split_fingerprints"].keys() == {"train", "validation", "test"}
    assert "strategy=finetune_lower" in provenance["overrides"]
    assert run["selection"]["on"] == "validation/accuracy"
    assert run["selection"]["tried"] == 2
    assert 0 < run["references"]["raw_pixels"]["test/accuracy"] < 1


def test_the_config_is_resolved_and_repeats_the_run(finished: Path) -> None:
    text = (finished / "config.yaml").read_text()
    assert "${" not in text
    config = yaml.safe_load(text)
    assert config["dataset"]["image_size"] == config["backbone"]["image_size"] == 32


@pytest.mark.parametrize(("file", "split"), [("predictions.csv", "test"), ("validation_predictions.csv", "validation")])
def test_predictions_agree_with_the_metrics(finished: Path, file: str, split: str) -> None:
    run = json.loads((finished / "run.json").read_text())
    table = pd.read_csv(finished / file, float_precision="round_trip")
    assert list(table.columns) == ["id", "target", "prediction", *run["classes"]]
    assert len(table) == run["pictures"][split] == 4 * 12
    probabilities = table[run["classes"]].to_numpy()
    np.testing.assert_allclose(probabilities.sum(axis=1), 1, atol=1e-5)
    assert (table[run["classes"]].idxmax(axis=1) == table["prediction"]).all()
    assert accuracy_score(table["target"], table["prediction"]) == pytest.approx(run["metrics"][f"{split}/accuracy"])
    assert log_loss(table["target"], probabilities, labels=run["classes"]) == pytest.approx(
        run["metrics"][f"{split}/loss"], rel=1e-4
    )


def test_the_epoch_is_the_best_on_validation(finished: Path) -> None:
    run = json.loads((finished / "run.json").read_text())
    curve = pd.read_csv(finished / "metrics.csv").set_index("epoch")
    assert run["best_epoch"] == curve["validation/accuracy"].idxmax()
    assert run["metrics"]["validation/loss"] == pytest.approx(curve["validation/loss"][run["best_epoch"]])
    assert torch.load(finished / "checkpoints/best.ckpt", weights_only=True)["epoch"] == run["best_epoch"]


@pytest.mark.parametrize("strategy", ["finetune_all", "linear_probe"])
def test_a_run_repeats_bit_for_bit_and_another_seed_does_not(strategy: str) -> None:
    extra = ["augmentation=[crop_resize,augmix,mixup]", "dataset.num_workers=1"] if strategy == "finetune_all" else []
    extra = [*SMALLEST, *extra, f"strategy={strategy}", "dataset.labels_per_class=4"]
    paths = [train(*extra, f"seed={seed}", into=str(number)) for number, seed in enumerate((0, 0, 1))]
    one, same, other = (json.loads((path / "run.json").read_text()) for path in paths)
    assert one["metrics"] == same["metrics"]
    assert one["id"] == same["id"]
    assert (paths[0] / "predictions.csv").read_bytes() == (paths[1] / "predictions.csv").read_bytes()
    assert one["metrics"] != other["metrics"]
    assert one["id"] != other["id"]


def test_head_only_leaves_the_pretrained_backbone_bit_equal() -> None:
    folder = train("strategy=head_only", tiny=PRETRAINED)
    state = torch.load(folder / "checkpoints/best.ckpt", weights_only=True)["state_dict"]
    start = efficientnet_lite("efficientnet_lite0", "imagenet", 32).state_dict()
    assert any("running_var" in name for name in start)
    for name, tensor in start.items():
        assert torch.equal(state[f"backbone.{name}"], tensor), name


def test_scratch_starts_from_random_weights_and_says_so() -> None:
    folder = train("strategy=scratch", "debug=fast", tiny=PRETRAINED)
    assert yaml.safe_load((folder / "config.yaml").read_text())["backbone"]["weights"] is None
    assert json.loads((folder / "run.json").read_text())["provenance"]["weights"]["name"] is None


@pytest.mark.parametrize(("source", "stored"), [(ImageData, "false"), (FrozenData, "true")])
def test_test_images_are_read_once_and_last(source: type, stored: str, monkeypatch: pytest.MonkeyPatch) -> None:
    seen = []
    for name in ("train_dataloader", "val_dataloader", "test_dataloader"):
        plain = getattr(source, name)
        monkeypatch.setattr(source, name, lambda self, *args, n=name, f=plain: (seen.append(n), f(self, *args))[1])
    train(*SMALLEST, "strategy=head_only", f"features.enabled={stored}")
    assert seen.count("test_dataloader") == 1
    assert seen[-1] == "test_dataloader"


def test_strategies_are_compared_in_pairs() -> None:
    few = [*TINY, *SMALLEST, "dataset.labels_per_class=3"]
    assert main(["train", *few, "-m", "output_dir=o", "strategy=scratch,head_only"]) == 0
    one, other = runs_below(Path("o"))
    assert one["provenance"]["dataset_fingerprint"] == other["provenance"]["dataset_fingerprint"]
    ids = [pd.read_csv(path)["id"].tolist() for path in sorted(Path("o").rglob("predictions.csv"))]
    assert ids[0] == ids[1]
    assert main(["train", *few, "output_dir=p", "seed=1"]) == 0
    # another seed takes other training images, but the same validation and test images
    assert runs_below(Path("p"))[0]["provenance"]["dataset_fingerprint"] != one["provenance"]["dataset_fingerprint"]
    assert pd.read_csv(next(Path("p").rglob("predictions.csv")))["id"].tolist() == ids[0]
