"""Test that the passes of a run count their images, and that each epoch prints a line."""

import logging
import re

import pytest
from conftest import make_strategy, make_trainer

from headstart.data import Digits
from headstart.progress import ProgressLine
from headstart.strategies import FinetuneAll
from headstart.training.progress import EpochProgress


def test_every_pass_is_counted_to_its_end(
    digits: Digits, tmp_path, monkeypatch: pytest.MonkeyPatch, caplog: pytest.LogCaptureFixture
) -> None:
    begun: list[ProgressLine] = []
    enter = ProgressLine.__enter__
    monkeypatch.setattr(ProgressLine, "__enter__", lambda self: begun.append(self) or enter(self))
    trainer, strategy = make_trainer(tmp_path, epochs=2), make_strategy(FinetuneAll)
    shown = EpochProgress()
    trainer.callbacks.append(shown)
    with caplog.at_level(logging.INFO, "headstart.training.progress"):
        strategy.fit(trainer, digits)
    trainer.predict(strategy, dataloaders=digits.val_dataloader())
    trainer.test(strategy, dataloaders=digits.test_dataloader(), verbose=False)
    train, validation, test = (len(split) for split in (digits.train, digits.validation, digits.test))
    told = [(work.what, work.done, work.total) for work in begun if "features" not in work.what]
    assert told == [
        ("epoch 1/2, training", train, train),
        ("epoch 1/2, validation", validation, validation),
        ("epoch 2/2, training", train, train),
        ("epoch 2/2, validation", validation, validation),
        ("validation", validation, validation),
        ("test", test, test),
    ]
    assert not shown.open
    lines = [record.getMessage() for record in caplog.records if record.name == "headstart.training.progress"]
    scores = r"train loss \d+\.\d{3}, [\d.]+ %, validation loss \d+\.\d{3}, [\d.]+ %, [\d.]+ s"
    assert re.fullmatch(rf"epoch 1/2: {scores}, \d:\d\d left", lines[0])
    assert re.fullmatch(rf"epoch 2/2: {scores}", lines[1])


def test_an_error_leaves_nothing_open(digits: Digits, tmp_path, monkeypatch: pytest.MonkeyPatch) -> None:
    def fails(*args: object) -> None:
        raise ValueError("a bug")

    trainer, strategy = make_trainer(tmp_path, epochs=1), make_strategy(FinetuneAll)
    shown = EpochProgress()
    trainer.callbacks.append(shown)
    monkeypatch.setattr(strategy, "on_validation_epoch_end", fails)
    with pytest.raises(ValueError, match="a bug"):
        strategy.fit(trainer, digits)
    assert not shown.open
