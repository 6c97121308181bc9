"""The probe agrees with scikit-learn, is chosen on validation, and is folded into an ordinary network."""

from pathlib import Path

import numpy as np
import pandas as pd
import pytest
import torch
from conftest import make_strategy, make_trainer
from sklearn.linear_model import LogisticRegression
from sklearn.preprocessing import StandardScaler

from headstart.data import Digits
from headstart.features import Features
from headstart.strategies import LinearProbe
from headstart.strategies.probe_fit import fit_probe


def blobs(count: int, dimension: int, seed: int) -> Features:
    rng = np.random.default_rng(seed)
    targets = rng.integers(0, 3, count)
    centres = np.random.default_rng(5).normal(size=(3, dimension))
    values = (centres[targets] + 1.5 * rng.normal(size=(count, dimension))) * rng.uniform(0.1, 10) + 3
    return Features(torch.tensor(values, dtype=torch.float32), torch.tensor(targets))


@pytest.mark.parametrize(("count", "dimension"), [(80, 6), (30, 60)])
@pytest.mark.parametrize("l2", [1.0, 0.01])
def test_agrees_with_scikit_learn(count: int, dimension: int, l2: float) -> None:
    train, held_out = blobs(count, dimension, 0), blobs(40, dimension, 0)
    probe = fit_probe(train, held_out, 3, [l2])
    scaler = StandardScaler().fit(train.values.double())
    reference = LogisticRegression(C=1 / (l2 * count), tol=1e-10, max_iter=10_000)
    reference.fit(scaler.transform(train.values.double()), train.targets)
    expected = reference.predict_proba(scaler.transform(held_out.values.double()))
    logits = held_out.values.double() @ probe.weight.T + probe.bias
    np.testing.assert_allclose(logits.softmax(1).numpy(), expected, atol=2e-4)


def test_the_strength_is_the_best_on_validation() -> None:
    rows: dict[int, dict[str, float]] = {}
    probe = fit_probe(blobs(40, 30, 0), blobs(200, 30, 1), 3, [0.001, 10, 0.1], on_row=rows.__setitem__)
    assert [row["l2"] for row in rows.values()] == [10, 0.1, 0.001]
    assert probe.scores["validation/accuracy"] == max(row["validation/accuracy"] for row in rows.values())
    assert rows[probe.number] == probe.scores


def test_the_network_gives_what_the_fit_gave(digits: Digits, tmp_path: Path) -> None:
    strategy = make_strategy(LinearProbe, l2=[0.1, 0.001])
    trainer = make_trainer(tmp_path)
    number = strategy.fit(trainer, digits)
    curve = pd.read_csv(tmp_path / "metrics.csv")
    assert curve["l2"].tolist() == [0.1, 0.001]
    again = trainer.validate(strategy, digits.val_dataloader(), verbose=False)[0]
    assert again["validation/accuracy"] == pytest.approx(curve["validation/accuracy"][number], abs=0.005)
    assert again["validation/loss"] == pytest.approx(curve["validation/loss"][number], rel=1e-3)
