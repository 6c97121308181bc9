"""Test balanced batches: every class comes equally often, and images repeat evenly."""

from collections import Counter
from collections.abc import Callable
from pathlib import Path

import numpy as np
import pytest
import torch
from conftest import PREPROCESSING, toy_backbone
from hypothesis import given
from hypothesis import strategies as st
from sklearn.utils.class_weight import compute_class_weight

from headstart import ranks
from headstart.augmentations import CropResize, Pipeline
from headstart.data import ImageFolder
from headstart.data.balance import balance_text
from headstart.data.batches import BalancedBatches
from headstart.features import FeatureSettings
from headstart.features.frozen_data import FrozenData
from headstart.features.keeping import Keeper
from headstart.features.loaders import FeatureBatches
from headstart.features.prefix import FrozenPrefix
from headstart.features.store import Store
from headstart.solvers.class_weights import class_weights

COUNTS = st.lists(st.integers(1, 40), min_size=2, max_size=6)


def targets_of(counts: list[int]) -> np.ndarray:
    return np.random.default_rng(0).permutation(np.repeat(np.arange(len(counts)), counts))


@given(COUNTS)
def test_weights_are_scikit_learns_and_their_mean_over_images_is_1(counts: list[int]) -> None:
    targets = targets_of(counts)
    weights = class_weights(targets, len(counts))
    theirs = compute_class_weight("balanced", classes=np.arange(len(counts)), y=targets)
    np.testing.assert_allclose(weights, theirs)
    assert weights[targets].mean() == pytest.approx(1)


@given(COUNTS, st.integers(1, 20), st.integers(0, 3), st.integers(0, 3))
def test_classes_and_the_images_of_each_come_equally_often(counts: list[int], size: int, seed: int, epoch: int) -> None:
    targets = targets_of(counts)
    batches = BalancedBatches(targets, size, seed)
    batches.set_epoch(epoch)
    order = np.concatenate(batches.positions())
    assert len(order) == len(targets)  # an epoch has as many images as the split
    of_class = np.bincount(targets[order], minlength=len(counts))
    assert np.ptp(of_class) <= 1
    for label in range(len(counts)):
        times = np.bincount(order, minlength=len(targets))[targets == label]
        assert np.ptp(times) <= 1  # whole passes over a class
    keys = [key for batch in batches for key in batch]
    assert [index for _, index in keys] == order.tolist()
    assert len(set(keys)) == len(keys)  # each view is drawn from a key of its own
    again = BalancedBatches(targets, size, seed)
    again.set_epoch(epoch)
    assert [key for batch in again for key in batch] == keys
    again.set_epoch(epoch + 1)
    assert len(targets) < 20 or [key for batch in again for key in batch] != keys


@given(COUNTS, st.integers(1, 9), st.integers(0, 9))
def test_a_resumed_epoch_draws_the_remaining_batches(counts: list[int], size: int, done: int) -> None:
    targets = targets_of(counts)
    whole, rest = BalancedBatches(targets, size, 1), BalancedBatches(targets, size, 1)
    whole.set_epoch(2)
    rest.start_at(2, min(done, len(rest)))
    assert list(rest) == list(whole)[min(done, len(rest)) :]
    rest.set_epoch(3)
    assert len(list(rest)) == len(rest)


def test_processes_share_the_batches_of_one(monkeypatch: pytest.MonkeyPatch) -> None:
    targets = targets_of([20, 3, 9])
    alone = list(BalancedBatches(targets, 7, 0))
    shares = []
    for number in range(3):
        monkeypatch.setattr(ranks, "rank", lambda number=number: number)
        monkeypatch.setattr(ranks, "world", lambda: 3)
        shares.append(list(BalancedBatches(targets, 7, 0)))
    assert [[key for part in parts for key in part] for parts in zip(*shares, strict=True)] == alone


def long_tail(root: Path, workers: int | str = 0, views: bool = False, **settings: object) -> ImageFolder:
    data = ImageFolder(root=str(root), batch_size=4, num_workers=workers, balance="sampler", **settings)
    data.prepare(PREPROCESSING, Pipeline([CropResize()] if views else []))
    return data


def test_an_image_that_comes_again_has_another_view_whatever_the_workers(make_folder: Callable[..., Path]) -> None:
    root = make_folder({"train/a": 16, "train/b": 2, "val/a": 1, "val/b": 1, "test/a": 1, "test/b": 1})
    loaded = [list(long_tail(root, workers, views=True).train_dataloader()) for workers in (0, 2)]
    images, others = (torch.cat([batch[0] for batch in batches]) for batches in loaded)
    assert torch.equal(images, others)
    places = torch.cat([batch[2] for batch in loaded[0]]).tolist()
    times = Counter(places)
    assert max(times.values()) == 5  # 18 images in an epoch, half of them of class b, which has two
    for place in times:
        views = [image for image, found in zip(images, places, strict=True) if found == place]
        assert not any(torch.equal(views[0], view) for view in views[1:])


def test_stored_features_come_in_the_same_order(make_folder: Callable[..., Path], tmp_path: Path) -> None:
    data = long_tail(make_folder({"a": 20, "b": 5}))
    scale, shift = (torch.full((1, 3, 1, 1), value) for value in (1 / 64, -2.0))
    prefix = FrozenPrefix(toy_backbone(), 3, scale, shift)
    settings, store = FeatureSettings(engine="torch"), Store(tmp_path / "store", 10**9)
    keeper = Keeper(prefix, settings, store, torch.device("cpu"), None, data.train, 50)
    loader, images = FrozenData(data, keeper).train_dataloader(), data.train_dataloader()
    assert isinstance(loader, FeatureBatches)
    for epoch in (0, 1):
        loader.batch_sampler.set_epoch(epoch)  # type: ignore[union-attr]
        images.batch_sampler.set_epoch(epoch)  # type: ignore[union-attr]
        for one, other in zip(loader, images, strict=True):
            assert torch.equal(one[1], other[1])
            assert torch.equal(one[2], other[2])


def test_the_opening_line_names_both_ends() -> None:
    targets = np.repeat([0, 1, 2], [20, 5, 2])
    names = ["forest", "coast", "owl"]
    assert balance_text(targets, names, "none") == ""
    assert balance_text(targets, names, "loss") == "balance: loss, weights 0.45 (forest) to 4.5 (owl)"
    assert balance_text(targets, names, "sampler") == (
        "balance: sampler, 9 images per class and epoch; each image is drawn 0.45 times (forest) to 4.5 times (owl)"
    )
