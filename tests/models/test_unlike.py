"""Test the distance to training images."""

import json
from collections.abc import Callable
from pathlib import Path
from types import SimpleNamespace
from typing import Any

import numpy as np
import pytest
import torch
from conftest import SMALLEST

from headstart.cli import main
from headstart.models.loading import load_model
from headstart.models.unlike import KEPT, SeenFeatures, described_unlike, distances_to, sample_size, watched_head


def test_the_distance_is_that_to_the_neighbour_of_this_number() -> None:
    train = torch.tensor([[1.0, 0.0], [0.0, 2.0], [-3.0, 0.0]])
    found = distances_to(train, torch.tensor([[5.0, 0.0]]), 2)
    assert found == pytest.approx([1.0])
    assert distances_to(train, torch.tensor([[5.0, 0.0]]), 3) == pytest.approx([2.0])
    assert distances_to(train, torch.tensor([[5.0, 0.0]]), 99) == pytest.approx([2.0])  # the last one


def test_five_in_a_hundred_validation_images_are_above_the_threshold() -> None:
    values = torch.randn(400, 8, generator=torch.Generator().manual_seed(0))
    found = described_unlike(values[:200], values[200:])
    assert found is not None
    assert (distances_to(values[:200], values[200:]) > found.threshold).mean() == pytest.approx(0.05)
    far = -values[:50].mean(dim=0) + torch.tensor([50.0] + [0.0] * 7) * torch.ones(50, 1)
    assert distances_to(values[:200] + torch.tensor([0.0] + [50.0] * 7), far).min() > found.threshold


def test_too_few_images_have_no_threshold() -> None:
    assert described_unlike(torch.randn(9, 4), torch.randn(9, 4)) is None
    assert described_unlike(torch.randn(50, 4), torch.empty(0, 0)) is None


def test_a_pass_keeps_an_even_sample() -> None:
    seen = SeenFeatures()
    for start in range(0, 10_000, 7):
        seen.add(torch.arange(start, min(start + 7, 10_000)).float()[:, None] / 10_000)
    values = (seen.values().float()[:, 0] * 10_000).round()
    assert KEPT <= len(values) < 2 * KEPT
    assert values[-1] > 9_990
    assert np.diff(values).max() <= 8  # float16 rounds


def test_a_run_that_gives_weights_only_keeps_no_features() -> None:
    for gives_weights_only, kept in ((True, 0), (False, 3)):
        strategy: Any = SimpleNamespace(
            task=SimpleNamespace(by_pixel=False), gives_weights_only=gives_weights_only, head=torch.nn.Identity()
        )
        with watched_head(strategy) as seen:
            strategy.head(torch.zeros(3, 8))
        assert len(seen.rows) == kept


def test_the_sample_is_bounded() -> None:
    assert sample_size(1280, 50, stored=True) == 50
    assert sample_size(1280, 10**6, stored=True) == 1000
    assert sample_size(10_000, 10**6, stored=True) == 209
    assert sample_size(1280, 10**6, stored=False) == 200


@pytest.mark.parametrize("strategy", ["linear_probe", "finetune_all"])
def test_a_red_image_is_unlike_grey_noise(strategy: str, make_folder: Callable[..., Path]) -> None:
    """The features of a run tell other images, with stored features and without."""
    root = make_folder({"train/a": 20, "train/b": 20})
    fast = ["dataset.image_size=32", "dataset.num_workers=0", "trainer.max_epochs=1", "trainer.accelerator=cpu"]
    where = ["dataset=image_folder", f"dataset.root={root}", "output_dir=o", "logger=csv", f"strategy={strategy}"]
    assert main(["train", *SMALLEST, "backbone.weights=null", *fast, *where]) == 0
    (run,) = (path.parent for path in Path("o").rglob("run.json"))
    model = load_model(run, "cpu")
    paths = sorted(root.rglob("*.jpg"))
    red = [np.full((40, 40, 3), (255, 0, 0), np.uint8)]
    (known,) = model.outputs(model.images(paths), 64)
    (other,) = model.outputs(model.images(red), 64)
    assert known.distances is not None
    assert other.distances is not None
    assert other.distances.min() > np.median(known.distances)
    size = (run / "checkpoints/model_features.safetensors").stat().st_size
    assert size < 4 * 2**20
    assert json.loads((run / "checkpoints/model.json").read_text())["unlike"]["images"] == 26
