"""Test that stages are unfrozen one after another, and that a resumed run equals an uninterrupted one."""

from functools import partial
from pathlib import Path

import pytest
import torch
from conftest import make_strategy, make_trainer, toy_backbone
from pytorch_lightning.callbacks import Callback, ModelCheckpoint

from headstart.data import Digits
from headstart.errors import ConfigError
from headstart.strategies import GradualUnfreeze, HeadOnly
from headstart.tasks import Classification


class Watch(Callback):
    """Record which stages change in each epoch, and their rates."""

    def __init__(self) -> None:
        self.moved: list[list[str]] = []
        self.rates: list[dict[str, float]] = []

    def on_train_epoch_start(self, trainer, pl_module) -> None:  # type: ignore[no-untyped-def]
        self.before = {name: _state(stage) for name, stage in pl_module.backbone.stages.items()}

    def on_train_epoch_end(self, trainer, pl_module) -> None:  # type: ignore[no-untyped-def]
        after = {name: _state(stage) for name, stage in pl_module.backbone.stages.items()}
        self.moved.append([name for name in after if not torch.equal(after[name], self.before[name])])
        self.rates.append(pl_module.learning_rates(trainer.optimizers[0]))


def _state(stage: torch.nn.Module) -> torch.Tensor:
    return torch.cat([tensor.detach().double().flatten() for tensor in stage.state_dict().values()])


def test_a_stage_more_every_few_epochs(digits: Digits, tmp_path: Path) -> None:
    watch = Watch()
    trainer = make_trainer(tmp_path, epochs=6)
    trainer.callbacks.append(watch)
    strategy = make_strategy(GradualUnfreeze, epochs_per_stage=2, stages=3, head_lr_multiplier=10)
    strategy.fit(trainer, digits)
    # weights, running statistics and rates alike
    expected = [[], [], ["stage3"], ["stage3"], ["stage2", "stage3"], ["stage2", "stage3"]]
    assert watch.moved == expected
    for rates, moved in zip(watch.rates[:-1], expected, strict=False):  # cosine ends at 0
        assert [name for name in ("stage1", "stage2", "stage3") if rates[name] > 0] == moved
        assert rates["head"] > 0
    assert [group.since for group in strategy.plan.groups if not group.frozen] == [7, 5, 3, 1]


def test_a_killed_run_resumes_bit_equal(digits: Digits, tmp_path: Path) -> None:
    def fit(folder: Path, stop: int | None = None, resume: Path | None = None) -> GradualUnfreeze:
        trainer = make_trainer(folder, epochs=5)
        trainer.callbacks.append(ModelCheckpoint(folder / "all", save_top_k=-1, filename="{epoch}"))
        if stop is not None:

            class Kill(Callback):
                def on_train_batch_start(self, trainer, pl_module, *args) -> None:  # type: ignore[no-untyped-def]
                    if trainer.current_epoch == stop:
                        raise RuntimeError("killed")

            trainer.callbacks.append(Kill())
        strategy = make_strategy(GradualUnfreeze)
        trainer.fit(strategy, datamodule=digits, ckpt_path=resume)
        return strategy

    whole = fit(tmp_path / "whole")
    with pytest.raises(RuntimeError, match="killed"):
        fit(tmp_path / "killed", stop=3)
    resumed = fit(tmp_path / "resumed", resume=tmp_path / "killed" / "all" / "epoch=2.ckpt")
    assert all(
        torch.equal(a, b) for a, b in zip(whole.state_dict().values(), resumed.state_dict().values(), strict=True)
    )


def test_counts_beyond_the_network_are_refused() -> None:
    with pytest.raises(ConfigError, match=r"strategy.stages=5: toy has 4 stages .* expected 1 to 4"):
        make_strategy(GradualUnfreeze, stages=5)
    with pytest.raises(ConfigError, match="epochs_per_stage=0"):
        make_strategy(GradualUnfreeze, epochs_per_stage=0)


def test_stages_that_are_never_unfrozen_are_named(
    digits: Digits, tmp_path: Path, caplog: pytest.LogCaptureFixture
) -> None:
    make_strategy(GradualUnfreeze, epochs_per_stage=2).fit(make_trainer(tmp_path, epochs=3), digits)
    assert "stage0, stage1, stage2 would be unfrozen only after the last of 3 epochs" in caplog.text


def test_a_range_test_is_made_in_the_first_phase(digits: Digits, tmp_path: Path) -> None:
    found = {}
    for cls in (GradualUnfreeze, HeadOnly):
        strategy = cls(toy_backbone(), Classification(10), partial(torch.optim.SGD, lr=0.1), lr="auto")
        strategy.fit(make_trainer(tmp_path / cls.__name__, epochs=1), digits)
        found[cls] = strategy.selected["lr"]
    assert found[GradualUnfreeze] == found[HeadOnly]
