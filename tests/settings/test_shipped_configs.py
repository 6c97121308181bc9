"""Test that every shipped config runs."""

import re
from collections.abc import Callable
from pathlib import Path

import numpy as np
import pytest
import torchvision
import yaml
from conftest import SMALLEST, TINY, runs_below
from PIL import Image

from headstart.augmentations.learned.policy import OperationChoice, Policy, write_policy
from headstart.cli import main
from headstart.data.torchvision_sets import RECIPES
from headstart.errors import ConfigError
from headstart.settings.configs import choices, composed, conf_folder, help_text

FAST = ["debug=fast", "output_dir=o"]
OWN_TESTS = {"augmentation", "backbone", "dataset", "experiment", "debug", "scale", "objective"}
# tests/tasks/test_every_task.py and tests/training/test_optimizers.py run every file of these groups.
OWN_TESTS |= {"strategy", "optimizer", "scheduler"}
DEMOS = {"demo", "demo_digits"}
GROUPS = sorted(folder.name for folder in conf_folder().iterdir() if folder.is_dir())


def one_run(*arguments: str) -> dict:
    assert main(["train", *arguments, *FAST]) == 0
    (found,) = runs_below(Path("o"))
    assert found["status"] == "finished"
    return found


@pytest.mark.parametrize(
    ("group", "name"),
    [
        (group, name)
        for group in GROUPS
        if group not in OWN_TESTS
        for name in choices(group)
        if group != "task" or name == "classification"  # other tasks need other data: tests/tasks
        if name != "upconv"  # needs masks: tests/training/test_segmentation_runs.py
        if name not in ("wandb", "mlflow", "trackio")  # need packages: tests/trackers
    ],
)
def test_small_groups(group: str, name: str) -> None:
    one_run(*TINY, *SMALLEST, f"{group}={name}")


VIEWS = (
    "crop_resize flip_crop learned color_jitter augmix rand_augment trivial_augment auto_augment blur jpeg"
    " random_erasing"
)
MIXES = "mixup cutmix mixup_or_cutmix manifold_mixup"


@pytest.mark.parametrize("names", [VIEWS.split(), MIXES.split(), ["augmix_jsd"], ["none"]], ids=lambda names: names[0])
def test_augmentations(names: list[str]) -> None:
    settings = [f"augmentation=[{','.join(names)}]", "trainer.max_epochs=1"]
    if "learned" in names:
        write_policy(Path("policy.json"), Policy((((OperationChoice("invert"),),),)))
        settings.append("augmentation.policy=policy.json")
    found = one_run(*TINY[:4], *SMALLEST, "trainer.accelerator=cpu", "strategy=finetune_all", *settings)
    assert found["augmentation"] == [name for name in names if name != "none"]


def test_every_augmentation_that_ships_is_among_these() -> None:
    assert set(choices("augmentation")) == {*VIEWS.split(), *MIXES.split(), "augmix_jsd", "two_crops", "none"}


@pytest.mark.slow
@pytest.mark.parametrize("name", choices("backbone"))
def test_backbones(name: str) -> None:
    extra = ["backbone.name=convnext_atto"] if name == "timm" else []
    size = 64 if name in ("alexnet", "timm") else 32
    settings = [setting for setting in TINY if not setting.startswith(("dataset.image_size", "dataset.counts"))]
    settings.append("dataset.counts=[1,1,1]")
    found = one_run(*settings, f"dataset.image_size={size}", f"backbone={name}", "backbone.weights=null", *extra)
    assert found["backbone"] == (extra[0].split("=")[1] if extra else name)


@pytest.mark.slow
@pytest.mark.parametrize("name", [name for name in choices("dataset") if name != "image_mask"])  # needs masks, too
def test_datasets(name: str, make_folder: Callable[..., Path], monkeypatch: pytest.MonkeyPatch) -> None:
    settings = [setting for setting in TINY if not setting.startswith("dataset.counts")]
    if name in RECIPES:
        monkeypatch.setattr(torchvision.datasets, RECIPES[name].cls, FakeSet)
    elif name in ("image_folder", "csv"):
        root = make_folder({"ants": 10, "bees": 10})
        rows = [f"{path.relative_to(root)},{path.parent.name}" for path in root.rglob("*.jpg")]
        (root / "labels.csv").write_text("\n".join(["path,label", *rows]))
        settings.append(f"dataset.root={root / 'labels.csv' if name == 'csv' else root}")
    found = one_run(*settings, *SMALLEST, f"dataset={name}")
    assert found["dataset"] == {"image_folder": "images", "csv": "labels"}.get(name, name)


class FakeSet:
    """A set of twenty images of two classes with the arguments of torchvision's sets."""

    classes = ["ants", "bees"]

    def __init__(self, root: str, download: bool, train: bool = True, split: str = "train") -> None:
        self.targets = [0, 1] * 10

    def __len__(self) -> int:
        return len(self.targets)

    def __getitem__(self, index: int) -> tuple[Image.Image, int]:
        noise = np.random.default_rng(index).integers(0, 256, (40, 50, 3), dtype=np.uint8)
        return Image.fromarray(noise), self.targets[index]


@pytest.mark.slow
@pytest.mark.parametrize("name", sorted(set(choices("experiment")) - DEMOS))
def test_experiments_of_the_documentation(name: str, make_folder: Callable[..., Path]) -> None:
    """Each experiment makes one run with the first value of every swept setting, on small images."""
    settings = yaml.safe_load((conf_folder() / "experiment" / f"{name}.yaml").read_text())
    swept = settings["hydra"]["sweeper"]["params"]
    first = {key: str(values).split(",")[0] for key, values in swept.items()}
    first |= {"dataset.labels_per_class": "3", "dataset.image_size": "32", "dataset.num_workers": "0"}
    if "root" in settings["dataset"]:
        counts = {f"{split}/{label}": 6 for split in ("train", "test") for label in ("coast", "forest")}
        first["dataset.root"] = str(make_folder(counts))
    arguments = [f"{key}={value}" for key, value in first.items()]
    assert main(["train", f"experiment={name}", *arguments, "trainer.accelerator=cpu", *FAST]) == 0
    (found,) = runs_below(Path("o"))
    assert found["status"] == "finished"


@pytest.mark.parametrize("name", sorted(set(choices("experiment")) - DEMOS))
def test_the_full_scale_is_larger_in_every_way(name: str) -> None:
    small, full = (composed([f"experiment={name}", "backbone=resnet18", *scale])[0] for scale in ([], ["scale=full"]))
    assert full.dataset.image_size > small.dataset.image_size
    assert full.trainer.max_epochs > small.trainer.max_epochs
    assert full.dataset.root == small.dataset.root


@pytest.mark.slow
@pytest.mark.parametrize("name", sorted(DEMOS))
def test_demos(name: str) -> None:
    few = ["dataset.labels_per_class=2", "dataset.image_size=32", "trainer.accelerator=cpu"]
    assert main(["train", f"experiment={name}", *few, *FAST]) == 0
    found = runs_below(Path("o"))
    assert len(found) >= 3
    assert {run["status"] for run in found} == {"finished"}
    assert {"scratch", "finetune_all", "linear_probe"} <= {run["strategy"] for run in found}


def test_files_that_others_build_on_are_no_choices() -> None:
    shown = help_text([])
    files = [file for file in conf_folder().rglob("*.yaml") if file.stem.startswith("_")]
    assert {file.parent.name for file in files} >= {"strategy", "dataset", "backbone", "head"}
    for group, name in ((file.parent.name, file.stem) for file in files):
        assert f" {name}" not in shown
        with pytest.raises(ConfigError, match=f"There is no {group} '{name}'") as refused:
            composed([f"{group}={name}"])
        assert not re.search(r"'_| _", str(refused.value).replace(f"'{name}'", "", 1))


def test_debug() -> None:
    assert choices("debug") == ["fast"]
    settings = [setting for setting in TINY if not setting.startswith("trainer.max_epochs")]
    assert one_run(*settings)["cost"]["epochs"] == 1


def test_nothing_chosen() -> None:
    assert one_run(*TINY, "augmentation=[]", "~logger", "~callbacks")["augmentation"] == []


def test_two_views_and_a_mix_keep_their_order() -> None:
    assert one_run(*TINY, "augmentation=[augmix,crop_resize,cutmix]")["augmentation"] == [
        "augmix",
        "crop_resize",
        "cutmix",
    ]
