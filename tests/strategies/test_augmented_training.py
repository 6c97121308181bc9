"""Test training on several views of an image, on mixed stages, and on views computed on the device."""

import math
from pathlib import Path
from types import SimpleNamespace

import numpy as np
import pandas as pd
import pytest
import torch
from conftest import PREPROCESSING, make_strategy, make_trainer
from torch import Tensor
from torch.nn import functional as F

from headstart.augmentations import Augmentation, AugMix, ColorJitter, CropResize, ManifoldMixup, Pipeline
from headstart.data import Digits
from headstart.inputs.batch import Batch
from headstart.strategies.scratch import Scratch
from headstart.tasks.consistency import jensen_shannon

IMAGES = torch.randint(0, 256, (12, 3, 16, 16), dtype=torch.uint8, generator=torch.Generator().manual_seed(0))
TARGETS = torch.tensor([3, 1, 4, 1])


def test_the_label_is_the_first_view_s_and_the_others_agree_with_it() -> None:
    strategy = make_strategy(Scratch, augmented=True, consistency=12.0).eval()
    logits = strategy(IMAGES)
    expected = F.cross_entropy(logits[:4], TARGETS) + 12 * jensen_shannon(logits.view(3, 4, 10))
    torch.testing.assert_close(strategy.training_step(Batch(IMAGES, TARGETS, torch.arange(4), 3), 0), expected)
    assert float(strategy.train_scores.compute()["loss"]) == pytest.approx(float(F.cross_entropy(logits[:4], TARGETS)))


def test_without_consistency_every_view_has_the_label() -> None:
    strategy = make_strategy(Scratch, augmented=True).eval()
    expected = F.cross_entropy(strategy(IMAGES), TARGETS.repeat(3))
    torch.testing.assert_close(strategy.training_step(Batch(IMAGES, TARGETS, torch.arange(4), 3), 0), expected)


@pytest.mark.parametrize("consistency", [0.0, 12.0])
def test_a_batch_of_views_in_parts_gives_the_same_gradient(consistency: float) -> None:
    gradients = []
    for parts in (1, 3):
        strategy = make_strategy(Scratch, augmented=True, consistency=consistency).eval()
        strategy.batch_parts = parts
        strategy._trainer = SimpleNamespace(  # type: ignore[assignment]
            accumulate_grad_batches=2, strategy=SimpleNamespace(backward=lambda loss, _: (2 * loss).backward()),
            current_epoch=0, global_step=0,
        )  # fmt: skip
        strategy.training_step(Batch(IMAGES, TARGETS, torch.arange(4), 3), 1).backward()
        gradients.append(torch.cat([p.grad.flatten() for p in strategy.parameters() if p.grad is not None]))
    torch.testing.assert_close(gradients[1], gradients[0], rtol=1e-4, atol=1e-6)


def test_consistency_is_logged_and_training_pulls_views_together(tmp_path: Path) -> None:
    apart = {}
    for weight in (1e-9, 12.0):
        data = Digits(labels_per_class=8, batch_size=16, num_workers=0)
        data.prepare(PREPROCESSING, Pipeline([AugMix(jsd=12, severity=10)]))
        strategy = make_strategy(Scratch, augmented=True, consistency=weight)
        strategy.fit(make_trainer(tmp_path / str(weight), epochs=3), data)
        apart[weight] = pd.read_csv(tmp_path / str(weight) / "metrics.csv")["train/jsd"].tolist()
    assert apart[12.0][-1] < 0.5 * apart[1e-9][-1]
    assert 0 < apart[12.0][0] < math.log(3)


def test_a_stage_s_output_is_mixed_with_its_targets() -> None:
    mix = ManifoldMixup(stages=["stage1"])
    strategy = make_strategy(Scratch, mixes=[mix], augmented=True).eval()
    Augmentation({"manifold_mixup": mix}).settle(strategy.backbone.stage_names, strategy.backbone.taps[0])
    images = IMAGES[:4]
    [mixing] = strategy.mixings(4, (16, 16), 0, 0)
    with torch.no_grad():
        below = strategy.backbone.forward_stages(strategy.normalise(images), 0, 2)
        mixed = below * mixing.share + below[torch.from_numpy(mixing.partner)] * (1 - mixing.share)  # type: ignore[attr-defined]
        logits = strategy.head(strategy.backbone(mixed, 2))
        one_hot = F.one_hot(TARGETS, 10).float()
        soft = one_hot * mixing.share + one_hot[torch.from_numpy(mixing.partner)] * (1 - mixing.share)  # type: ignore[attr-defined]
        plain = strategy(images)
    loss = strategy.training_step(Batch(images, TARGETS, torch.arange(4)), 0)
    torch.testing.assert_close(loss, F.cross_entropy(logits, soft))
    torch.testing.assert_close(strategy(images), plain)  # nothing is left behind in the network
    loss.backward()
    assert all(p.grad is not None and p.grad.abs().sum() > 0 for p in strategy.backbone.stages["stage0"].parameters())


def test_views_on_the_device_train_as_those_of_the_loader(tmp_path: Path) -> None:
    curves = []
    for on_device in (False, True):
        data = Digits(labels_per_class=8, batch_size=16, num_workers=0)
        data.prepare(
            PREPROCESSING, Pipeline([CropResize(), ColorJitter(hue=(0, 0)), AugMix(jsd=12)], in_batches=on_device)
        )
        assert isinstance(next(iter(data.train_dataloader()))[0], Tensor) is not on_device
        strategy = make_strategy(Scratch, augmented=True, consistency=12.0)
        strategy.fit(make_trainer(tmp_path / str(on_device), epochs=2), data)
        curves.append(pd.read_csv(tmp_path / str(on_device) / "metrics.csv"))
    np.testing.assert_allclose(curves[0]["train/loss"], curves[1]["train/loss"], rtol=0.01)
    np.testing.assert_allclose(curves[0]["train/jsd"], curves[1]["train/jsd"], rtol=0.5)  # 0.0002: rounding shows


def test_predictions_over_views_are_mean_probabilities() -> None:
    strategy = make_strategy(Scratch).eval()
    with torch.no_grad():
        expected = strategy(IMAGES).view(3, 4, 10).softmax(dim=2).mean(dim=0)
        torch.testing.assert_close(
            strategy.over_views(Batch(IMAGES, TARGETS, torch.arange(4), 3)).softmax(dim=1), expected
        )
        assert torch.equal(strategy.over_views(Batch(IMAGES, TARGETS.repeat(3), torch.arange(12))), strategy(IMAGES))
        seen: list[int] = []
        strategy.backbone.stages["stage0"].register_forward_hook(
            lambda module, inputs, output: seen.append(len(output))
        )
        strategy.over_views(Batch(IMAGES, TARGETS, torch.arange(4), 3))
        assert seen == [4, 4, 4]  # a view at a time takes no more memory than one
