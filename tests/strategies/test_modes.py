"""Test which statistics batch norm uses, and which of them change."""

from pathlib import Path

import numpy as np
import pytest
import torch
from conftest import PREPROCESSING, make_strategy, make_trainer, toy_backbone
from torch import Tensor

from headstart.backbones import WeightsInfo
from headstart.data import Digits
from headstart.errors import ConfigError
from headstart.strategies import FinetuneAll, HeadOnly, Knn, LayerTransfer, LinearProbe, Scratch, Strategy
from headstart.strategies.modes import batch_norms


def statistics(strategy: Strategy) -> list[Tensor]:
    layers = batch_norms(strategy.backbone)
    return [b.detach().clone() for layer in layers for b in (layer.running_mean, layer.running_var)]  # type: ignore[union-attr]


def images(data: Digits) -> Tensor:
    return torch.from_numpy(np.stack([data.train.image(i) for i in range(len(data.train))])).permute(0, 3, 1, 2)


@pytest.mark.parametrize("cls", [HeadOnly, FinetuneAll])
@pytest.mark.parametrize(("mode", "moves"), [("frozen", False), ("update", True), ("batch", False)])
def test_the_mode_decides_whether_statistics_change(
    cls: type[Strategy], mode: str, moves: bool, digits: Digits, tmp_path: Path
) -> None:
    strategy = make_strategy(cls, batch_norm=mode)
    before = statistics(strategy)
    strategy.fit(make_trainer(tmp_path), digits)
    assert all(torch.equal(a, b) != moves for a, b in zip(before, statistics(strategy), strict=True))


def test_auto_updates_only_what_is_trained_from_random_weights() -> None:
    assert set(make_strategy(Scratch).plan.statistics.values()) == {"update"}
    for cls in (FinetuneAll, HeadOnly):
        assert set(make_strategy(cls).plan.statistics.values()) == {"frozen"}
    for tuned in (False, True):
        half = make_strategy(LayerTransfer, random_backbone=toy_backbone(1), stages=2, tuned=tuned)
        assert list(half.plan.statistics.values()) == ["frozen", "frozen", "update", "update"]
    backbone = toy_backbone()
    backbone.weights = WeightsInfo()  # random: there are no statistics to keep
    assert set(make_strategy(FinetuneAll, backbone=backbone).plan.statistics.values()) == {"update"}


@pytest.mark.parametrize("cls", [HeadOnly, FinetuneAll])
def test_adapted_statistics_are_those_of_the_training_images(
    cls: type[Strategy], digits: Digits, tmp_path: Path
) -> None:
    strategy = make_strategy(cls, batch_norm="adapt")
    before = statistics(strategy)
    strategy.begin(digits, torch.device("cpu"))
    adapted = statistics(strategy)
    assert all(not torch.equal(a, b) for a, b in zip(before, adapted, strict=True))
    # of the first layer they are known: what its convolution makes of all images
    stage = strategy.backbone.stages["stage0"]
    with torch.no_grad():
        maps = stage[0](strategy.normalise(images(digits)))  # type: ignore[index]
    torch.testing.assert_close(adapted[0], maps.mean(dim=(0, 2, 3)), rtol=1e-3, atol=1e-4)
    torch.testing.assert_close(adapted[1], maps.var(dim=(0, 2, 3)), rtol=0.1, atol=1e-3)
    strategy.fit(make_trainer(tmp_path), digits)
    assert all(torch.equal(a, b) for a, b in zip(adapted, statistics(strategy), strict=True))


def test_adapted_statistics_do_not_depend_on_the_batch_size() -> None:
    found = []
    for batch_size, images in ((4, 4096), (16, 4096), (4, 64), (16, 64)):
        data = Digits(labels_per_class=12, batch_size=batch_size)
        data.prepare(PREPROCESSING)
        strategy = make_strategy(HeadOnly, batch_norm="adapt", batch_norm_images=images)
        strategy.begin(data, torch.device("cpu"))
        found.append(statistics(strategy))
    assert all(torch.equal(a, b) for a, b in zip(found[0], found[1], strict=True))
    assert all(torch.equal(a, b) for a, b in zip(found[2], found[3], strict=True))
    assert not torch.equal(found[0][0], found[2][0])


def test_batch_statistics_are_those_of_the_batch_in_evaluation_too(digits: Digits) -> None:
    strategy = make_strategy(HeadOnly, batch_norm="batch").eval()
    some = images(digits)[:16]
    whole, half = strategy.features(some), strategy.features(some[:8])
    assert not torch.allclose(whole[:8], half, atol=1e-3)
    frozen = make_strategy(HeadOnly, batch_norm="frozen").eval()
    torch.testing.assert_close(frozen.features(some)[:8], frozen.features(some[:8]))
    with torch.no_grad():
        stage = strategy.backbone.stages["stage0"]
        out = stage[1](stage[0](strategy.normalise(some)))  # type: ignore[index]
    torch.testing.assert_close(out.mean(dim=(0, 2, 3)), torch.zeros(4), atol=1e-4, rtol=0)


def test_only_what_never_changes_is_the_frozen_prefix() -> None:
    ends = {
        mode: make_strategy(HeadOnly, batch_norm=mode).plan.prefix_end
        for mode in ("frozen", "adapt", "update", "batch")
    }
    assert ends == {"frozen": 4, "adapt": 4, "update": 0, "batch": 0}


def test_predictions_of_mixed_batches_come_in_the_order_of_the_images(digits: Digits, tmp_path: Path) -> None:
    strategy = make_strategy(FinetuneAll, batch_norm="batch")
    trainer = make_trainer(tmp_path, epochs=1)
    strategy.fit(trainer, digits)
    trainer.test(strategy, digits.test_dataloader(mixed=True), verbose=False)
    logits = torch.empty_like(strategy.test_outputs)
    with torch.no_grad():
        for inputs, _, positions, *_ in digits.test_dataloader(mixed=True):
            logits[positions] = strategy(inputs)
    assert [int(p) for p in positions] != sorted(int(p) for p in positions)
    torch.testing.assert_close(strategy.test_outputs, logits)


def test_the_plan_names_the_mode() -> None:
    assert {group.statistics for group in make_strategy(FinetuneAll, batch_norm="adapt").plan.groups} == {"adapt", None}


def test_wrong_modes_are_refused() -> None:
    with pytest.raises(ConfigError, match=r"Did you mean 'frozen'\?"):
        make_strategy(FinetuneAll, batch_norm="frozn")
    for cls in (LinearProbe, Knn):
        with pytest.raises(ConfigError, match="no training step"):
            make_strategy(cls, batch_norm="update")
