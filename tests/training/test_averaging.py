"""Test averaged weights: the average is validated, saved and tested, and training does not change."""

import json
from pathlib import Path
from typing import Any

import pandas as pd
import pytest
import pytorch_lightning as pl
import torch
from conftest import CHECKOUT, PREPROCESSING, TINY, make_strategy
from hydra import compose, initialize_config_dir
from torch import Tensor

from headstart.augmentations import CropResize, Pipeline
from headstart.cli import main
from headstart.data import Digits
from headstart.errors import ConfigError
from headstart.records.curves import CsvCurves
from headstart.strategies import FinetuneAll, FinetuneUpper, GradualUnfreeze, HeadOnly, Strategy, constant
from headstart.strategies.modes import batch_norms
from headstart.training.averaging import AveragedWeights, ExponentialAverage, StochasticAverage, moving_tensors
from headstart.training.checkpoints import BestEpoch
from headstart.training.compose import make_trainer

State = dict[str, Tensor]


def state_of(strategy: Strategy) -> State:
    return {name: tensor.detach().clone() for name, tensor in strategy.state_dict().items()}


class Recorder(pl.Callback):
    """Record the weights after every step and at each validation."""

    def __init__(self) -> None:
        self.steps: list[State] = []
        self.ends: list[State] = []  # of epochs, before anything is averaged
        self.validated: list[State] = []

    def on_fit_start(self, trainer: pl.Trainer, pl_module: Any) -> None:
        self.steps.append(state_of(pl_module))

    def on_train_batch_end(self, trainer: pl.Trainer, pl_module: Any, *args: Any) -> None:
        self.steps.append(state_of(pl_module))
        if trainer.is_last_batch:
            self.ends.append(state_of(pl_module))

    def on_validation_batch_start(self, trainer: pl.Trainer, pl_module: Any, *args: Any) -> None:
        if len(self.validated) < len(self.ends):
            self.validated.append(state_of(pl_module))


def fit(
    strategy: Strategy, data: Digits, folder: Path, average: AveragedWeights | None, epochs: int = 4, **kwargs: Any
) -> tuple[int, Recorder]:
    """Train like a run; return the best epoch and the records."""
    recorder = Recorder()
    best = BestEpoch(folder / "checkpoints", "epoch", monitor="validation/accuracy", mode="max", save_weights_only=True)
    trainer = pl.Trainer(
        max_epochs=epochs,
        accelerator="cpu",
        logger=[CsvCurves(folder)],
        callbacks=[best, recorder, *([average] if average else [])],
        enable_progress_bar=False,
        enable_model_summary=False,
        num_sanity_val_steps=0,
        **kwargs,
    )
    return strategy.fit(trainer, data), recorder


def moving_average(states: list[State], decay: float) -> list[State]:
    """Return the moving average by its definition, in double precision."""
    averages = [{name: tensor.double() for name, tensor in states[0].items()}]
    for step, state in enumerate(states[1:], start=1):
        keep = min(decay, (1 + step) / (10 + step))
        averages.append({name: keep * averages[-1][name] + (1 - keep) * tensor for name, tensor in state.items()})
    return averages


def assert_alike(state: State, expected: State, names: list[str]) -> None:
    assert names
    for name in names:
        torch.testing.assert_close(state[name].double(), expected[name].double(), rtol=1e-4, atol=1e-6, msg=name)


def smooth(strategy: Strategy) -> list[str]:
    return [name for name, tensor in moving_tensors(strategy).items() if tensor.is_floating_point()]


def test_a_run_ends_with_the_moving_average_of_its_best_epoch(digits: Digits, tmp_path: Path) -> None:
    strategy = make_strategy(FinetuneAll, batch_norm="update", lr=0.02, scheduler=None)
    epoch, seen = fit(strategy, digits, tmp_path, ExponentialAverage(decay=0.9))
    names = smooth(strategy)
    assert "backbone.stages.stage3.1.running_var" in names  # statistics are averaged, too
    averages = moving_average(seen.steps, 0.9)
    steps = (len(seen.steps) - 1) // 4
    for number, state in enumerate(seen.validated):
        assert_alike(state, averages[steps * (number + 1)], names)
    curve = pd.read_csv(tmp_path / "metrics.csv")["validation/accuracy"]
    assert len(seen.validated) == len(curve) == 4
    assert epoch == curve.idxmax()
    assert all(torch.equal(tensor, seen.validated[epoch][name]) for name, tensor in strategy.state_dict().items())
    assert not torch.equal(strategy.head.weight, seen.ends[epoch]["head.weight"])


@pytest.mark.parametrize("average", [ExponentialAverage(0.9), StochasticAverage(0.0)])
def test_training_does_not_notice(average: AveragedWeights, digits: Digits, tmp_path: Path) -> None:
    _, plain = fit(make_strategy(FinetuneAll, batch_norm="update"), digits, tmp_path / "plain", None, epochs=3)
    _, averaged = fit(make_strategy(FinetuneAll, batch_norm="update"), digits, tmp_path / "averaged", average, epochs=3)
    for one, other in zip(plain.steps, averaged.steps, strict=True):
        assert all(torch.equal(tensor, other[name]) for name, tensor in one.items())


def test_swa_is_the_mean_of_the_last_epochs(digits: Digits, tmp_path: Path) -> None:
    strategy = make_strategy(FinetuneAll, batch_norm="update", lr=0.02, scheduler=constant)
    epoch, seen = fit(strategy, digits, tmp_path, StochasticAverage(start=0.5), epochs=6)
    weights = [name for name, _ in strategy.named_parameters()]
    for number in range(3):  # not yet: the network as it is
        assert all(torch.equal(tensor, seen.ends[number][name]) for name, tensor in seen.validated[number].items())
    for number in range(3, 6):
        ends = seen.ends[3 : number + 1]
        mean = {name: torch.stack([end[name].double() for end in ends]).mean(dim=0) for name in weights}
        assert_alike(seen.validated[number], mean, weights)
    assert all(torch.equal(tensor, seen.validated[epoch][name]) for name, tensor in strategy.state_dict().items())


def test_swa_estimates_the_statistics_of_the_mean_network(digits: Digits, tmp_path: Path) -> None:
    strategy = make_strategy(FinetuneAll, batch_norm="update", lr=0.02, scheduler=constant)
    _, seen = fit(strategy, digits, tmp_path, StochasticAverage(start=0.0), epochs=2)
    strategy.load_state_dict(seen.validated[-1])
    strategy.eval()
    first = next(iter(strategy.backbone.stages.values()))
    with torch.no_grad():  # the statistics of the first layer follow from its weights alone
        outputs = [first[0](strategy.normalise(batch[0])) for batch in digits.train_dataloader()]
    mean = torch.stack([y.mean(dim=(0, 2, 3)) for y in outputs]).mean(dim=0)
    var = torch.stack([y.var(dim=(0, 2, 3)) for y in outputs]).mean(dim=0)
    torch.testing.assert_close(first[1].running_mean, mean, rtol=1e-4, atol=1e-5)
    torch.testing.assert_close(first[1].running_var, var, rtol=1e-4, atol=1e-5)
    assert not torch.allclose(first[1].running_mean, seen.ends[-1]["backbone.stages.stage0.1.running_mean"])
    assert {layer.momentum for layer in batch_norms(strategy)} == {0.1}


def test_swa_sees_views_that_are_left_to_the_device(tmp_path: Path) -> None:
    statistics = []
    for on_device in (False, True):
        data = Digits(labels_per_class=8, batch_size=40, num_workers=0)
        data.prepare(PREPROCESSING, Pipeline([CropResize()], in_batches=on_device))
        strategy = make_strategy(FinetuneAll, augmented=True, batch_norm="update", lr=1e-6, scheduler=constant)
        fit(strategy, data, tmp_path / str(on_device), StochasticAverage(start=0.0), epochs=1)
        statistics.append(torch.cat([layer.running_mean for layer in batch_norms(strategy)]))
    torch.testing.assert_close(*statistics, rtol=0.05, atol=0.02)


@pytest.mark.parametrize("average", [ExponentialAverage, lambda: StochasticAverage(start=0.0)])
@pytest.mark.parametrize("cls", [HeadOnly, FinetuneUpper, GradualUnfreeze])
def test_frozen_tensors_do_not_change(average: Any, cls: type[Strategy], digits: Digits, tmp_path: Path) -> None:
    strategy = make_strategy(cls, batch_norm="update")
    before = {name: tensor.clone() for name, tensor in strategy.frozen_tensors().items()}
    fit(strategy, digits, tmp_path, average(), epochs=2)
    strategy.frozen.check(strategy.frozen_tensors())
    assert all(torch.equal(before[name], tensor) for name, tensor in strategy.frozen_tensors().items())
    assert before or cls is GradualUnfreeze
    kept = torch.load(tmp_path / "checkpoints" / "epoch.ckpt", weights_only=True)["state_dict"]
    assert set(kept) == set(moving_tensors(strategy))


def test_accumulated_gradients_are_one_step(digits: Digits, tmp_path: Path) -> None:
    average = ExponentialAverage()
    fit(make_strategy(HeadOnly), digits, tmp_path, average, epochs=1, accumulate_grad_batches=2)
    batches = len(digits.train_dataloader())
    assert batches > 2
    assert average.updates == -(-batches // 2)


@pytest.mark.parametrize("make", [ExponentialAverage, lambda: StochasticAverage(start=0.25)])
def test_a_resumed_fit_ends_the_same(make: Any, digits: Digits, tmp_path: Path) -> None:
    def trained(folder: Path, epochs: int, resumed_from: Path | None = None) -> Strategy:
        strategy = make_strategy(FinetuneAll, batch_norm="update", scheduler=None)
        last = pl.callbacks.ModelCheckpoint(folder, "last")
        options: dict[str, Any] = {"accelerator": "cpu", "logger": False, "num_sanity_val_steps": 0}
        options |= {"enable_progress_bar": False, "enable_model_summary": False}
        trainer = pl.Trainer(max_epochs=4, callbacks=[make(), last, _StopAfter(epochs)], **options)
        trainer.fit(strategy, datamodule=digits, ckpt_path=resumed_from, weights_only=True)
        return strategy

    whole = trained(tmp_path / "whole", 4)
    trained(tmp_path / "half", 2)
    resumed = trained(tmp_path / "rest", 4, tmp_path / "half" / "last.ckpt")
    for name, tensor in whole.state_dict().items():
        assert torch.equal(tensor, resumed.state_dict()[name]), name


class _StopAfter(pl.Callback):
    def __init__(self, epochs: int) -> None:
        self.epochs = epochs

    def on_train_epoch_end(self, trainer: pl.Trainer, pl_module: pl.LightningModule) -> None:
        trainer.should_stop = trainer.current_epoch + 1 >= self.epochs


@pytest.mark.parametrize("decay", [0, 1, -0.5, True, "much"])
def test_a_decay_outside_its_range_is_refused(decay: Any) -> None:
    with pytest.raises(ConfigError, match=r"callbacks\.ema\.decay=.*: expected a number between 0 and 1"):
        ExponentialAverage(decay)


@pytest.mark.parametrize("start", [1, -0.1, True, "late"])
def test_a_start_outside_its_range_is_refused(start: Any) -> None:
    with pytest.raises(ConfigError, match=r"callbacks\.swa\.start=.*: expected a fraction"):
        StochasticAverage(start)


def composed(*overrides: str) -> Any:
    with initialize_config_dir(str(CHECKOUT / "conf"), version_base="1.3"):
        return compose("train", list(overrides))


def test_callbacks_are_chosen_by_name_or_as_a_list(tmp_path: Path) -> None:
    assert list(composed("callbacks=ema").callbacks) == ["progress", "ema"]
    assert list(composed("callbacks=[swa,early_stopping]").callbacks) == ["progress", "swa", "early_stopping"]
    with pytest.raises(ConfigError, match="ema and swa both average"):
        make_trainer(composed("callbacks=[ema,swa]"), tmp_path)


def test_runs_average(tmp_path: Path) -> None:
    settings = [*TINY, "backbone=timm", "backbone.name=test_resnet", "strategy=finetune_upper", "output_dir=out"]
    for callbacks in ("callbacks=default", "callbacks=[early_stopping,ema]", "callbacks=swa"):
        assert main(["train", *settings, callbacks]) == 0
    runs = [json.loads(path.read_text()) for path in sorted((tmp_path / "out").rglob("run.json"))]
    assert [run["status"] for run in runs] == ["finished"] * 3
    assert len({run["config_hash"] for run in runs}) == 3
    assert main(["train", *settings, "callbacks=ema", "callbacks.ema.decay=2"]) == 2
