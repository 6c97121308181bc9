"""Test that a run keeps the best epoch on validation: by accuracy, then loss, then the first."""

import math
from collections.abc import Sequence
from pathlib import Path
from typing import Any

import pytest
import torch
from conftest import make_strategy, make_trainer
from hypothesis import given
from hypothesis import strategies as st

from headstart.data import Digits
from headstart.strategies import HeadOnly
from headstart.training.checkpoints import LOSS, BestEpoch

MONITOR = "validation/accuracy"
CASES = [
    ([0.5, 0.8, 0.8, 0.8, 0.7], [1.0, 0.9, 0.7, 0.7, 0.1], 2),
    ([0.8, 0.8, 0.9, 0.9], [0.1, 0.2, 0.9, 1.0], 2),
    ([0.5, 0.5, 0.5], [0.3, 0.2, 0.1], 2),
    ([0.5, 0.5, 0.5], [0.3, 0.3, 0.3], 0),
    ([1.0, 0.5], [0.9, 0.1], 0),
]


class Scripted(HeadOnly):
    """A strategy with given validation scores."""

    scores: Sequence[tuple[float, float]] = ()

    def on_validation_epoch_end(self) -> None:
        accuracy, loss = self.scores[self.current_epoch]
        self.log_dict({MONITOR: accuracy, LOSS: loss})


def best_epoch(folder: Path) -> BestEpoch:
    return BestEpoch(folder / "checkpoints", "epoch", monitor=MONITOR, mode="max", save_weights_only=True)


@pytest.mark.parametrize(("accuracies", "losses", "expected"), CASES)
def test_ties_go_to_the_lower_loss(
    accuracies: list[float], losses: list[float], expected: int, digits: Digits, tmp_path: Path
) -> None:
    strategy: Any = make_strategy(Scripted)
    strategy.scores = list(zip(accuracies, losses, strict=True))
    trainer = make_trainer(tmp_path, epochs=len(losses))
    trainer.callbacks[-1] = best_epoch(tmp_path)  # type: ignore[attr-defined]
    trainer.limit_train_batches = trainer.limit_val_batches = 1
    assert strategy.fit(trainer, digits) == expected


class TrainerStub:
    """The parts of a trainer that a checkpoint callback reads."""

    def __init__(self, accuracy: float, loss: float) -> None:
        self.callback_metrics = {MONITOR: torch.tensor(accuracy), LOSS: torch.tensor(loss)}
        self.strategy = self

    def reduce_boolean_decision(self, decision: bool) -> bool:
        return decision


SCORES = st.tuples(st.sampled_from([0.25, 0.5, 0.75]), st.sampled_from([0.1, 0.2, 0.3, math.nan]))


@given(st.lists(SCORES, min_size=1, max_size=8), st.data())
def test_a_resumed_run_chooses_the_same_epoch(scores: list[tuple[float, float]], data: st.DataObject) -> None:
    stopped = data.draw(st.integers(0, len(scores)))
    best = best_epoch(Path("run"))
    chosen = None
    for number, (accuracy, loss) in enumerate(scores):
        if number == stopped:
            state = best.state_dict()
            best = best_epoch(Path("elsewhere"))
            best.load_state_dict(state)
        told: Any = TrainerStub(accuracy, loss)
        if best.check_monitor_top_k(told, told.callback_metrics[MONITOR]):
            chosen = number
            path = str(Path(str(best.dirpath)) / "epoch.ckpt")
            best.best_k_models = {path: told.callback_metrics[MONITOR]}
            best.kth_best_model_path = best.best_model_path = path
            best.best_model_score = told.callback_metrics[MONITOR]
    known = [(accuracy, -(math.inf if math.isnan(loss) else loss)) for accuracy, loss in scores]
    assert chosen == max(range(len(scores)), key=lambda number: known[number])
