"""Test which weights each strategy trains, at which rates, in which mode."""

from functools import partial
from pathlib import Path

import pandas as pd
import pytest
import pytorch_lightning as pl
import torch
from conftest import make_strategy, make_trainer, toy_backbone
from torch import Tensor, nn

from headstart.augmentations import Mixup
from headstart.data import Digits
from headstart.errors import ConfigError, HeadstartError
from headstart.strategies import (
    L2SP,
    BiasOnly,
    FinetuneAll,
    FinetuneLower,
    FinetuneUpper,
    GradualUnfreeze,
    HeadOnly,
    LinearProbe,
    LpFt,
    NearestCentroid,
    NormOnly,
    Ridge,
    Scratch,
    Strategy,
    Surgical,
)
from headstart.strategies.modes import batch_norms
from headstart.strategies.plan import PlanGroup, check_partition
from headstart.tasks import Classification, CosineHead, LinearHead

TRAINED = {
    Scratch: [0, 1, 2, 3],
    FinetuneAll: [0, 1, 2, 3],
    FinetuneLower: [0, 1],
    FinetuneUpper: [2, 3],
    HeadOnly: [],
    LinearProbe: [],
    NearestCentroid: [],
    Ridge: [],
    LpFt: [0, 1, 2, 3],
    L2SP: [0, 1, 2, 3],
    Surgical: [0, 1, 2, 3],
}


def stage_states(strategy: Strategy) -> list[dict[str, Tensor]]:
    return [{k: v.clone() for k, v in stage.state_dict().items()} for stage in strategy.backbone.stages.values()]


@pytest.mark.parametrize("cls", list(TRAINED))
def test_only_trained_tensors_change(cls: type[Strategy], digits: Digits, tmp_path: Path) -> None:
    strategy = make_strategy(cls)
    stages, head = stage_states(strategy), strategy.head.weight.detach().clone()
    strategy.eval()  # left so by an earlier evaluation
    strategy.fit(make_trainer(tmp_path), digits)
    assert not torch.equal(head, strategy.head.weight)
    for number, (before, after) in enumerate(zip(stages, stage_states(strategy), strict=True)):
        for name, tensor in before.items():
            # running statistics move where a stage is trained from random weights, and only there
            moves = number in TRAINED[cls] and (cls is Scratch or name.endswith(("weight", "bias")))
            assert torch.equal(tensor, after[name]) != moves, (number, name)


@pytest.mark.parametrize("cls", list(TRAINED))
def test_the_plan_matches_gradients_and_modes(cls: type[Strategy]) -> None:
    strategy = make_strategy(cls)
    trained = sum(p.numel() for p in strategy.parameters() if p.requires_grad)
    assert trained == sum(group.size_trained for group in strategy.plan.groups)
    assert sum(group.size for group in strategy.plan.groups) == sum(p.numel() for p in strategy.parameters())
    strategy.train()
    for number, stage in enumerate(strategy.backbone.stages.values()):
        norms = batch_norms(stage)
        assert {m.training for m in stage.modules() if m not in norms} == {number in TRAINED[cls]}
        assert {m.training for m in norms} == {cls is Scratch}  # the weights of the others have statistics
        assert {p.requires_grad for p in stage.parameters()} == {number in TRAINED[cls]}


def test_any_stages_may_be_chosen(digits: Digits, tmp_path: Path) -> None:
    strategy = make_strategy(Surgical, train_stages=["stage2", "*0"])
    stages = stage_states(strategy)
    strategy.fit(make_trainer(tmp_path), digits)
    for number, (before, after) in enumerate(zip(stages, stage_states(strategy), strict=True)):
        same = {
            torch.equal(tensor, after[name]) for name, tensor in before.items() if name.endswith(("weight", "bias"))
        }
        assert same == {number not in (0, 2)}
    assert make_strategy(Surgical, train_stages=["stage2", "stage3"]).plan.frozen_stages == ("stage0", "stage1")
    assert make_strategy(FinetuneUpper, stages=2).train_stages == ["stage2", "stage3"]


@pytest.mark.parametrize(("cls", "kinds"), [(BiasOnly, {"bias"}), (NormOnly, {"weight", "bias"})])
def test_one_kind_of_weights_moves(cls: type[Strategy], kinds: set[str], digits: Digits, tmp_path: Path) -> None:
    strategy = make_strategy(cls, lr=0.05, train_stages=["stage1", "stage2"], batch_norm="frozen")
    stages = stage_states(strategy)
    strategy.fit(make_trainer(tmp_path), digits)
    moved = [
        (number, name)
        for number, (before, after) in enumerate(zip(stages, stage_states(strategy), strict=True))
        for name, tensor in before.items()
        if not torch.equal(tensor, after[name])
    ]
    norms = [(number, f"1.{kind}") for number in (1, 2) for kind in ("weight", "bias") if kind in kinds]
    convolutions = [(number, "0.bias") for number in (1, 2)] if cls is BiasOnly else []
    assert sorted(moved) == sorted(norms + convolutions)
    trained = sum(p.numel() for p in strategy.backbone.parameters() if p.requires_grad)
    assert trained == next(group for group in strategy.plan.groups if group.name == "backbone").size_trained


def test_counts_are_of_the_stages_that_the_head_reads() -> None:
    task = Classification(10, head=LinearHead(stages=["stage0", "stage2"]))
    given = {"optimizer": partial(torch.optim.SGD, lr=0.1), "task": task}
    upper = FinetuneUpper(toy_backbone(), stages=1, **given)
    assert (upper.train_stages, upper.plan.prefix_end) == (["stage2"], 1)  # stage0 is read below
    assert FinetuneLower(toy_backbone(), stages=1, **given).train_stages == ["stage0"]
    with pytest.raises(ConfigError, match=r"stages=3: toy has 3 stages"):
        FinetuneUpper(toy_backbone(), stages=3, **given)
    with pytest.raises(ConfigError, match=r"stages=4: toy has 3 stages"):
        GradualUnfreeze(toy_backbone(), stages=4, **given)


@pytest.mark.parametrize(
    ("cls", "kwargs", "message"),
    [
        (LpFt, {"l2": [-1]}, r"strategy.l2=\[-1\]"),
        (LpFt, {"l2": []}, r"strategy.l2=\[\]"),
        (Ridge, {"l2": ["a"]}, r"strategy.l2=\['a'\]"),
        (Surgical, {"train_stages": None}, r"strategy.train_stages=None"),
        (FinetuneAll, {"stage_lr": 0.1}, r"strategy.stage_lr=0.1: expected rates by stage"),
    ],
)
def test_settings_of_the_wrong_kind_are_named(cls: type[Strategy], kwargs: dict[str, object], message: str) -> None:
    with pytest.raises(ConfigError, match=message):
        make_strategy(cls, **kwargs)


def test_a_rate_that_is_no_number_is_named() -> None:
    with pytest.raises(ConfigError, match=r"strategy.lr=fast: expected a number above 0, auto, or null"):
        FinetuneAll(toy_backbone(), Classification(10), partial(torch.optim.SGD, lr=0.1), lr="fast")


def test_one_value_may_stand_for_a_list() -> None:
    assert make_strategy(Surgical, train_stages="stage2").trained_stages() == ["stage2"]
    assert make_strategy(LinearProbe, l2=0.5).strengths == [0.5]


def test_a_head_without_biases_takes_no_rate_for_them() -> None:
    task = Classification(10, head=CosineHead())
    with pytest.raises(ConfigError, match="the cosine head has no biases"):
        FinetuneAll(toy_backbone(), task, partial(torch.optim.SGD, lr=0.1), head_bias_lr_multiplier=20)


def test_wrong_stage_names_are_refused() -> None:
    with pytest.raises(ConfigError, match=r"'stag2' is no stage of toy, .* Did you mean 'stage2'\?"):
        make_strategy(Surgical, train_stages=["stag2"])
    with pytest.raises(ConfigError, match=r"stage1 is named twice, by 'stage1' and by 'stage\*'"):
        make_strategy(Surgical, train_stages=["stage1", "stage*"])
    with pytest.raises(ConfigError, match=r"'neck\*' is no stage"):
        make_strategy(Surgical, train_stages=["neck*"])


def test_learning_rates_are_real(digits: Digits, tmp_path: Path) -> None:
    strategy = make_strategy(FinetuneAll, lr=0.01, head_lr_multiplier=10, scheduler=None)
    strategy.fit(make_trainer(tmp_path, epochs=1), digits)
    rates = {g["name"]: g["lr"] for g in strategy.optimizers().param_groups}  # type: ignore[union-attr]
    assert rates == {"backbone": pytest.approx(0.001), "head": pytest.approx(0.01)}
    row = pd.read_csv(tmp_path / "metrics.csv").iloc[0]
    assert row["learning_rate/head"] == pytest.approx(10 * row["learning_rate/backbone"])


def test_groups_go_by_identity() -> None:
    one, equal = nn.Linear(2, 2, bias=False), nn.Linear(2, 2, bias=False)
    nn.init.zeros_(one.weight)
    nn.init.zeros_(equal.weight)
    whole = nn.ModuleList([one, equal])
    groups = [PlanGroup(n, n, list(m.parameters()), 1.0, 0.0, "x") for n, m in (("a", one), ("b", equal))]
    check_partition(groups, whole)
    with pytest.raises(RuntimeError, match="exactly the network"):
        check_partition(groups[:1], whole)
    with pytest.raises(RuntimeError, match="two groups"):
        check_partition([*groups, groups[0]], whole)


def test_the_best_epoch_on_validation_is_kept(digits: Digits, tmp_path: Path) -> None:
    strategy = make_strategy(Scratch, lr=0.05)
    trainer = make_trainer(tmp_path, epochs=5)
    epoch = strategy.fit(trainer, digits)
    curve = pd.read_csv(tmp_path / "metrics.csv")["validation/accuracy"]
    assert epoch == curve.idxmax()
    again = trainer.validate(strategy, digits.val_dataloader(), verbose=False)[0]
    assert again["validation/accuracy"] == pytest.approx(curve.max(), abs=1e-6)


def test_a_frozen_tensor_that_moves_is_found(digits: Digits, tmp_path: Path) -> None:
    class Careless(HeadOnly):
        def on_train_batch_end(self, *args: object) -> None:
            with torch.no_grad():
                next(self.backbone.parameters()).add_(1e-7)

    with pytest.raises(RuntimeError, match="frozen tensor stage0"):
        make_strategy(Careless).fit(make_trainer(tmp_path, epochs=1), digits)


def test_strategies_share_head_and_order(digits: Digits, tmp_path: Path) -> None:
    heads = [make_strategy(cls, head_seed=3).head.weight for cls in TRAINED]
    assert all(torch.equal(heads[0], head) for head in heads)
    assert not torch.equal(heads[0], make_strategy(HeadOnly, head_seed=4).head.weight)
    orders = []
    for number, cls in enumerate((Scratch, HeadOnly, FinetuneLower)):
        seen: list[list[int]] = []

        class Watched(cls):  # type: ignore[misc, valid-type]
            def on_train_batch_start(self, batch: tuple[Tensor, ...], batch_idx: int, seen: list = seen) -> None:
                seen.append([self.current_epoch, *batch[2].tolist()])

        make_strategy(Watched).fit(make_trainer(tmp_path / str(number)), digits)
        orders.append(seen)
    assert orders[0] == orders[1] == orders[2]
    epochs = [[row[1:] for row in orders[0] if row[0] == epoch] for epoch in (0, 1)]
    assert epochs[0] != epochs[1]  # another order in another epoch
    assert all(sorted(i for row in rows for i in row) == list(range(len(digits.train))) for rows in epochs)


def test_workers_do_not_change_dropout(digits: Digits, tmp_path: Path) -> None:
    curves = []
    for workers in (0, 1):
        backbone = toy_backbone()
        backbone.stages["stage3"].append(nn.Dropout(0.5))  # type: ignore[operator]
        digits.num_workers = workers
        make_strategy(Scratch, backbone=backbone).fit(make_trainer(tmp_path / str(workers), epochs=3), digits)
        curves.append(pd.read_csv(tmp_path / str(workers) / "metrics.csv")["train/loss"].tolist())
    digits.num_workers = "auto"
    assert curves[0] == curves[1]


def test_mixing_trains_on_soft_targets_and_evaluates_on_hard_ones(digits: Digits, tmp_path: Path) -> None:
    strategy = make_strategy(Scratch, mixes=[Mixup(1.0)], augmented=True)
    seen = []
    plain = strategy.task.loss
    strategy.task.loss = lambda logits, targets, training=False: (  # type: ignore[method-assign]
        seen.append((training, targets.ndim)) or plain(logits, targets, training)
    )
    strategy.fit(make_trainer(tmp_path, epochs=1), digits)
    assert set(seen) == {(True, 2), (False, 1)}
    assert 0 < pd.read_csv(tmp_path / "metrics.csv")["train/accuracy"][0] < 1


def test_wrong_combinations_are_refused() -> None:
    with pytest.raises(ConfigError, match=r"stages=4: toy has 4 stages .* finetune_all"):
        make_strategy(FinetuneLower, stages=4)
    with pytest.raises(ConfigError, match="cannot augment"):
        make_strategy(LinearProbe, augmented=True)
    with pytest.raises(ConfigError, match=r"optimizer.lr"):
        make_strategy(HeadOnly, optimizer=partial(torch.optim.AdamW))


def test_divergence_is_named(digits: Digits, tmp_path: Path) -> None:
    strategy = make_strategy(Scratch, optimizer=partial(torch.optim.SGD, lr=1e30))
    with pytest.raises(HeadstartError, match="diverged"):
        strategy.fit(make_trainer(tmp_path, epochs=2), digits)


def test_normalisation_and_stages_make_the_forward_pass(digits: Digits) -> None:
    strategy = make_strategy(FinetuneUpper, channels_last=False).eval()
    images = next(iter(digits.val_dataloader()))[0]
    x = (images.float() / 255 - 0.5) / 0.25
    torch.testing.assert_close(strategy.features(images), toy_backbone().eval()(x), rtol=1e-4, atol=1e-5)
    assert isinstance(strategy, pl.LightningModule)
