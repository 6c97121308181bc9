"""Test that histograms count every weight, once each epoch, and need TensorBoard."""

from pathlib import Path

import numpy as np
import pytest
import torch
from conftest import make_strategy, make_trainer
from hypothesis import given
from hypothesis import strategies as st
from tensorboard.backend.event_processing.event_accumulator import EventAccumulator

from headstart.data import Digits
from headstart.errors import ConfigError
from headstart.records.curves import TensorBoardCurves
from headstart.strategies.head_only import HeadOnly
from headstart.training.histograms import BINS, WeightHistograms, histogram_of

numbers = st.lists(st.floats(-1e6, 1e6, width=32), min_size=1, max_size=50)


@given(st.lists(numbers, min_size=1, max_size=3))
def test_every_value_is_counted(values: list[list[float]]) -> None:
    found = histogram_of([torch.tensor(value) for value in values])
    flat = np.array([number for value in values for number in value])
    assert found is not None
    assert found.counts.sum() == len(flat)
    assert found.edges.shape == (BINS + 1,)
    assert (np.diff(found.edges) > 0).all()
    assert found.edges[0] <= flat.min()
    assert found.edges[-1] >= flat.max()
    assert found.total == pytest.approx(flat.sum(), rel=1e-5, abs=1e-2)
    assert found.squares == pytest.approx((flat**2).sum(), rel=1e-5)


def test_what_is_not_finite_is_left_out() -> None:
    found = histogram_of([torch.tensor([1.0, float("nan"), 2.0]), torch.tensor([float("inf")])])
    assert found is not None
    assert found.counts.sum() == 2
    assert histogram_of([torch.tensor([float("nan")])]) is None
    assert histogram_of([]) is None


def test_a_histogram_an_epoch_for_each_stage_and_the_head(tmp_path: Path, digits: Digits) -> None:
    trainer = make_trainer(tmp_path, epochs=2)
    trainer.loggers = [*trainer.loggers, TensorBoardCurves(tmp_path)]
    trainer.callbacks.append(WeightHistograms())  # type: ignore[attr-defined]
    strategy = make_strategy(HeadOnly)
    trainer.fit(strategy, datamodule=digits)
    events = EventAccumulator(str(tmp_path / "tensorboard/train"), {"histograms": 0})
    events.Reload()
    names = [*strategy.backbone.stages, "head"]
    assert set(events.Tags()["histograms"]) == {
        f"weights/{n}{kind}" for n in names for kind in ("", "/biases_and_norms")
    }
    for name, part in (*strategy.backbone.stages.items(), ("head", strategy.head)):
        found = events.Histograms(f"weights/{name}")
        assert [event.step for event in found] == [0, 1]
        count = sum(p.numel() for p in part.parameters() if p.ndim > 1)
        assert found[1].histogram_value.num == sum(found[1].histogram_value.bucket) == count
    frozen, trained = events.Histograms("weights/stage0"), events.Histograms("weights/head")
    assert frozen[0].histogram_value == frozen[1].histogram_value
    assert trained[0].histogram_value != trained[1].histogram_value


def test_without_tensorboard_it_is_refused(tmp_path: Path, digits: Digits) -> None:
    trainer = make_trainer(tmp_path)
    trainer.callbacks.append(WeightHistograms())  # type: ignore[attr-defined]
    with pytest.raises(ConfigError, match="logger=tensorboard"):
        trainer.fit(make_strategy(HeadOnly), datamodule=digits)
