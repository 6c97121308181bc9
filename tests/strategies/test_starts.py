"""Test strategies that differ by their start, and by the penalty on the distance from it."""

from functools import partial
from pathlib import Path

import pytest
import torch
from conftest import make_strategy, make_trainer, toy_backbone

from headstart.data import Digits
from headstart.errors import ConfigError
from headstart.features.extract import extract
from headstart.strategies import (
    L2SP,
    FinetuneAll,
    HeadOnly,
    LayerTransfer,
    LinearProbe,
    LpFt,
    NearestCentroid,
    Truncate,
    WiseFt,
)
from headstart.strategies.wise_ft import mixed
from headstart.tasks import Classification, LinearHead, MlpHead

SGD0 = partial(torch.optim.SGD, lr=1e-30)  # steps that move nothing


def logits(strategy, digits: Digits) -> torch.Tensor:  # type: ignore[no-untyped-def]
    return extract(strategy.eval(), digits.val_dataloader(), torch.device("cpu")).values


def test_lp_ft_starts_from_the_probe(digits: Digits, tmp_path: Path) -> None:
    probe = make_strategy(LinearProbe)
    probe.fit(make_trainer(tmp_path / "probe"), digits)
    tuned = make_strategy(LpFt, optimizer=SGD0, batch_norm="frozen", scheduler=None)
    tuned.fit(make_trainer(tmp_path / "tuned", epochs=1), digits)
    torch.testing.assert_close(logits(tuned, digits), logits(probe, digits))
    assert tuned.selected["l2"] in tuned.strengths
    moved = make_strategy(LpFt, lr=0.01, batch_norm="frozen")
    moved.fit(make_trainer(tmp_path / "moved", epochs=1), digits)
    assert not torch.allclose(logits(moved, digits), logits(probe, digits), atol=1e-3)


def test_rates_of_lp_ft() -> None:
    rates = {
        group.name: group.learning_rate
        for group in make_strategy(LpFt, optimizer=partial(torch.optim.SGD, lr=0.5)).plan.groups
    }
    assert rates == {"backbone": pytest.approx(0.05), "head": pytest.approx(0.05)}


def test_class_means_are_where_a_head_may_start(digits: Digits, tmp_path: Path) -> None:
    centroid = make_strategy(NearestCentroid)
    centroid.fit(make_trainer(tmp_path / "centroid"), digits)
    task = Classification(10, head=LinearHead(init="class_means"))
    for cls in (HeadOnly, FinetuneAll):
        strategy = cls(toy_backbone(), task, SGD0, batch_norm="frozen")
        strategy.fit(make_trainer(tmp_path / cls.__name__, epochs=1), digits)
        torch.testing.assert_close(logits(strategy, digits), logits(centroid, digits), rtol=1e-3, atol=1e-3)
        assert strategy.plan.groups[-1].started_from == "class means"


def test_a_mix_of_weights_is_chosen_on_validation(digits: Digits, tmp_path: Path) -> None:
    strategy = make_strategy(WiseFt, lr=0.02, mixes_tried=[0, 0.25, 0.5, 1])
    trainer = make_trainer(tmp_path, epochs=3)
    strategy.fit(trainer, digits)
    rows = strategy.selected["mixes"]
    best = max(rows, key=lambda row: (row["accuracy"], -row["loss"]))
    assert strategy.selected["mix"] == best["mix"]
    told = trainer.validate(strategy, digits.val_dataloader(), verbose=False)[0]
    assert told["validation/accuracy"] == pytest.approx(best["accuracy"])
    assert strategy.selected["metrics"]["validation/accuracy"] == best["accuracy"]
    assert len({row["loss"] for row in rows}) == 4


def test_mixed_states() -> None:
    before = {"w": torch.zeros(2), "n": torch.tensor(3)}
    after = {"w": torch.tensor([1.0, 2.0]), "n": torch.tensor(5)}
    assert mixed(before, after, 0.25)["w"].tolist() == [0.25, 0.5]
    assert int(mixed(before, after, 0.25)["n"]) == 5


def test_the_pull_is_that_of_the_paper_and_keeps_the_backbone_near(digits: Digits, tmp_path: Path) -> None:
    def distance(alpha: float) -> float:
        strategy = make_strategy(L2SP, lr=0.01, alpha=alpha, beta=0.0)
        strategy.fit(make_trainer(tmp_path / str(alpha)), digits)
        start = dict(toy_backbone().named_parameters())
        moved = [(p - start[name]).detach() for name, p in strategy.backbone.named_parameters()]
        total = float(sum(difference.square().sum() for difference in moved))
        assert strategy.penalty().item() == pytest.approx(0.5 * alpha * total, rel=1e-4)
        return total

    assert distance(10.0) < 0.3 * distance(0.0)
    strategy = make_strategy(L2SP, alpha=0.5, beta=2.0, optimizer=partial(torch.optim.SGD, lr=0.1, weight_decay=0.01))
    head = sum(p.detach().square().sum() for p in strategy.head.parameters())
    assert strategy.penalty().item() == pytest.approx(float(head), rel=1e-5)
    assert {group.name: group.weight_decay for group in strategy.plan.groups} == {"backbone": 0.0, "head": 0.0}
    assert not any("start" in name for name in strategy.state_dict())


@pytest.mark.parametrize("tuned", [False, True])
def test_layers_are_copied_or_random(tuned: bool, digits: Digits, tmp_path: Path) -> None:
    source, random = toy_backbone(0), toy_backbone(1)
    strategy = make_strategy(LayerTransfer, random_backbone=random, stages=2, tuned=tuned)
    states = [toy_backbone(seed).state_dict() for seed in (0, 1)]
    for name, tensor in strategy.backbone.state_dict().items():
        copied = name.startswith(("stages.stage0", "stages.stage1"))
        assert torch.equal(tensor, states[0 if copied else 1][name])
    assert {group.started_from for group in strategy.plan.groups} == {"toy", "random"}
    strategy.fit(make_trainer(tmp_path), digits)
    del source
    for name, tensor in strategy.backbone.named_parameters():
        copied = name.startswith(("stages.stage0", "stages.stage1"))
        assert torch.equal(tensor, states[0 if copied else 1][name]) == (copied and not tuned), name


def test_a_truncated_network_ends_early() -> None:
    strategy = make_strategy(Truncate, stages=2, train_stages=["stage1"])
    assert strategy.backbone.stage_names == ["stage0", "stage1"]
    assert strategy.head.in_features == 6
    assert strategy.plan.frozen_stages == ("stage0",)


@pytest.mark.parametrize(
    ("make", "message"),
    [
        (lambda: make_strategy(Truncate, stages=5), r"strategy.stages=5: toy has 4 stages"),
        (lambda: make_strategy(LayerTransfer, random_backbone=toy_backbone(1), stages=5), r"expected 0 to 4"),
        (lambda: make_strategy(LayerTransfer, random_backbone=toy_backbone(1), tuned="yes"), "true or false"),
        (lambda: make_strategy(L2SP, alpha=-1), "strategy.alpha=-1"),
        (lambda: make_strategy(WiseFt, mixes_tried=[2]), "mixes_tried"),
        (lambda: make_strategy(LpFt, lr_factor=0), "lr_factor=0"),
        (lambda: LpFt(toy_backbone(), Classification(10, head=MlpHead()), SGD0), r"use head=linear, not head=mlp"),
    ],
)
def test_wrong_settings_are_refused(make, message: str) -> None:  # type: ignore[no-untyped-def]
    with pytest.raises(ConfigError, match=message):
        make()
