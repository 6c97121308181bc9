"""Test that loaders of features give the same items as loaders of images, in the same order."""

from pathlib import Path

import numpy as np
import pytest
import torch
from conftest import PREPROCESSING, toy_backbone
from torch.utils.data import DataLoader

from headstart.augmentations import CropResize, Pipeline, View
from headstart.data import Digits
from headstart.features import FeatureSettings, choice
from headstart.features.frozen_data import FrozenData
from headstart.features.keeping import Keeper
from headstart.features.loaders import FeatureBatches
from headstart.features.prefix import FrozenPrefix
from headstart.features.store import Store


def frozen_of(
    folder: Path, views: tuple[View, ...] = (), kept: int | None = None, mixed: bool = False, **settings: object
) -> FrozenData:
    data = Digits(labels_per_class=5, batch_size=16)
    data.prepare(PREPROCESSING, Pipeline(views))
    scale, shift = (torch.full((1, 3, 1, 1), value) for value in (1 / 64, -2.0))
    prefix = FrozenPrefix(toy_backbone(), 3, scale, shift)
    told = FeatureSettings(engine="torch", **settings)  # type: ignore[arg-type]
    keeper = Keeper(prefix, told, Store(folder / "store", 10**9), torch.device("cpu"), None, data.train, 50)
    return FrozenData(data, keeper, kept, mixed)


@pytest.mark.parametrize("limit", ["auto", 0])
@pytest.mark.parametrize("which", ["train", "train_eval", "val", "test"])
def test_features_keep_the_order_of_images(which: str, limit: object, tmp_path: Path) -> None:
    frozen = frozen_of(tmp_path, memory_limit=limit)
    loader, pixels = (getattr(source, f"{which}_dataloader")() for source in (frozen, frozen.data))
    assert isinstance(loader, FeatureBatches)
    orders = []
    for epoch in (0, 1):
        if which == "train":
            loader.batch_sampler.set_epoch(epoch)  # type: ignore[union-attr]
            pixels.batch_sampler.set_epoch(epoch)
        assert len(loader) == len(pixels)
        for (values, labels, places, *_), (images, other_labels, other_places, *_) in zip(loader, pixels, strict=True):
            assert torch.equal(labels, other_labels)
            assert torch.equal(places, other_places)
            expected = frozen.keeper.prefix(images.permute(0, 2, 3, 1))
            torch.testing.assert_close(values, expected, rtol=1e-4, atol=1e-5)
            assert values.is_contiguous(memory_format=torch.channels_last)
        orders.append([int(i) for batch in loader for i in batch.positions])
    assert (orders[0] != orders[1]) == (which == "train")


def test_augmented_images_stay_images_and_the_rest_is_reused(tmp_path: Path) -> None:
    for frozen in (frozen_of(tmp_path, (CropResize(),)), frozen_of(tmp_path, mixed=True)):
        assert isinstance(frozen.train_dataloader(), DataLoader)
        assert isinstance(frozen.val_dataloader(), FeatureBatches)
        assert isinstance(frozen.test_dataloader(), FeatureBatches)
        assert set(frozen.record()["splits"]) == {"validation", "test"}


def test_views_take_turns_and_start_as_the_exact_run_does(tmp_path: Path) -> None:
    frozen = frozen_of(tmp_path, (CropResize(),), kept=2)
    loader, pixels = frozen.train_dataloader(), frozen.data.train_dataloader()
    batches = []
    for epoch in range(4):
        for source in (loader, pixels):
            source.batch_sampler.set_epoch(epoch)
        values, _, places, *_ = next(iter(loader))
        images, *_ = next(iter(pixels))
        expected = frozen.keeper.prefix(images.permute(0, 2, 3, 1))
        same = torch.allclose(values, expected, rtol=1e-3, atol=1e-4)
        assert same == (epoch < 2)  # later the exact run draws new views
        shown = np.concatenate([frozen.data.train.image(int(i), epoch % 2)[None] for i in places])
        expected = frozen.keeper.prefix(torch.from_numpy(shown))
        torch.testing.assert_close(values, expected, rtol=1e-4, atol=1e-5)
        batches.append(values)


def test_the_record_says_hit_or_miss_and_what_was_saved(tmp_path: Path) -> None:
    first = frozen_of(tmp_path)
    for _ in range(3):
        list(first.val_dataloader())
    record = first.record()
    assert (record["up_to"], record["engine"], record["hit"]) == ("output of stage2", "torch", False)
    validation = record["splits"]["validation"]
    assert validation["found"] == 0
    assert validation["bytes"] == record["bytes"] == validation["rows"] * 8 * 4 * 4 * 4
    second = frozen_of(tmp_path)
    list(second.val_dataloader())
    again = second.record()
    assert again["hit"]
    assert again["splits"]["validation"]["found"] == validation["rows"]
    assert again["seconds_saved"] >= 0


@pytest.mark.parametrize(("precision", "computed"), [("float32", "float32"), ("bf16", "bfloat16")])
def test_the_record_states_precision_and_error(
    precision: str, computed: str, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(choice, "fast_bf16", lambda device: True)
    frozen = frozen_of(tmp_path, precision=precision)
    list(frozen.val_dataloader())
    record = frozen.record()
    assert record["precision"] == computed
    assert (record["error"] > 1e-5) == (precision == "bf16")
    assert record["error"] < choice.HALF
