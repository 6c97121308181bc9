"""Test that the probe agrees with scikit-learn, is chosen on validation, and becomes the network's head."""

from pathlib import Path

import numpy as np
import pandas as pd
import pytest
import torch
from conftest import make_strategy, make_trainer
from hypothesis import assume, given, settings
from hypothesis import strategies as st
from sklearn.linear_model import LogisticRegression
from sklearn.preprocessing import StandardScaler
from sklearn.svm import LinearSVC
from sklearn.utils.class_weight import compute_sample_weight
from torch import Tensor, nn

from headstart.data import Digits
from headstart.errors import ConfigError
from headstart.solvers import probe_fit
from headstart.solvers.centroids import standardisation
from headstart.solvers.features import Features
from headstart.solvers.linear_fit import LOSSES, fit_linear
from headstart.solvers.probe import end_of, warn_of_end
from headstart.solvers.probe_fit import balanced_weights, fit_probe, principal_axes
from headstart.strategies import LinearProbe, Ridge
from headstart.tasks import Classification


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
    probe = fit_probe(train, held_out, Classification(3), [l2])
    scaler = StandardScaler().fit(train.values.double())
    reference = LogisticRegression(C=1 / (l2 * count), tol=1e-10, max_iter=10_000)
    reference.fit(scaler.transform(train.values.double()), train.targets)
    expected = reference.predict_proba(scaler.transform(held_out.values.double()))
    logits = held_out.values.double() @ probe.weight.T + probe.bias
    np.testing.assert_allclose(logits.softmax(1).numpy(), expected, atol=1e-3)


def objective(loss: str, x: Tensor, targets: Tensor, weight: np.ndarray, bias: np.ndarray, l2: float) -> float:
    logits = x @ torch.from_numpy(weight).T + torch.from_numpy(bias)
    if loss == "logistic":
        value = nn.functional.cross_entropy(logits, targets)
    else:
        signs = 2 * nn.functional.one_hot(targets) - 1
        value = (1 - signs * logits).clamp_min(0).square().sum(dim=1).mean()
    return float(value) + l2 / 2 * float((weight**2).sum())


@settings(max_examples=15, deadline=None)
@given(
    count=st.integers(20, 120),
    dimension=st.integers(2, 80),
    exponent=st.floats(-4, 2),
    loss=st.sampled_from(["logistic", "hinge"]),
)
def test_reaches_the_optimum_along_the_path(count: int, dimension: int, exponent: float, loss: str) -> None:
    train, l2 = blobs(count, dimension, count), 10**exponent
    assume(len(train.targets.unique()) == 3)
    mean, std = standardisation(train.values)
    x = (train.values.double() - mean) / std
    probe = fit_probe(train, train, Classification(3), [100 * l2, 10 * l2, l2], loss)
    x = x @ principal_axes(x).T
    fitted = None
    for strength in (100 * l2, 10 * l2, l2):
        start = None if fitted is None else fitted.parameters
        fitted = fit_linear(x, train.targets, 3, strength, start, LOSSES[loss])
    assert fitted is not None
    assert fitted.converged
    if loss == "logistic":
        reference = LogisticRegression(C=1 / (l2 * count), tol=1e-9, max_iter=20_000)
    else:  # scikit-learn's SVM penalises the bias, unless its feature is a large constant
        reference = LinearSVC(C=1 / (l2 * count), dual=False, intercept_scaling=1e3, tol=1e-9, max_iter=20_000)
    reference.fit(x, train.targets)
    best = objective(loss, x, train.targets, reference.coef_, reference.intercept_, l2)
    assert fitted.value <= best * (1 + 1e-4)
    assert objective(loss, x, train.targets, fitted.weight.numpy(), fitted.bias.numpy(), l2) == pytest.approx(
        fitted.value, rel=1e-9
    )
    if probe.scores["l2"] == l2:  # told on features as they come
        x = (train.values.double() - mean) / std
        weight = (probe.weight * std).numpy()
        bias = (probe.bias + probe.weight @ mean).numpy()
        assert objective(loss, x, train.targets, weight, bias, l2) <= best * (1 + 1e-4)


def test_the_same_fit_is_made_once(monkeypatch: pytest.MonkeyPatch) -> None:
    train, held_out = blobs(40, 30, 3), blobs(50, 30, 4)
    fits = []
    plain = probe_fit.fit_linear
    monkeypatch.setattr(probe_fit, "fit_linear", lambda *args, **more: (fits.append(args[3]), plain(*args, **more))[1])
    results = []
    for classes, strengths, loss, other in (
        (3, [1.0, 0.1], "logistic", 0.0),
        (3, [1.0, 0.1], "logistic", 0.0),  # the same again
        (3, [1.0], "logistic", 0.0),
        (3, [1.0, 0.1], "hinge", 0.0),
        (3, [1.0, 0.1], "logistic", 1e-6),
    ):
        rows: dict[int, dict[str, float]] = {}
        features = Features(train.values + other, train.targets)
        probe = probe_fit.fit_probe_once(features, held_out, Classification(classes), strengths, loss, rows.__setitem__)
        results.append((probe, rows))
    assert fits == [1.0, 0.1, 1.0, 1.0, 0.1, 1.0, 0.1]
    assert results[0] == results[1]
    assert results[0][1] != results[3][1]


def test_hinge_is_an_option(digits: Digits, tmp_path: Path) -> None:
    heads = {}
    for loss in ("logistic", "hinge"):
        strategy = make_strategy(LinearProbe, l2=[0.1], loss=loss)
        strategy.fit(make_trainer(tmp_path / loss), digits)
        heads[loss] = strategy.head.weight.detach()
    assert not torch.allclose(heads["logistic"], heads["hinge"], rtol=0.1)
    with pytest.raises(ConfigError, match=r"strategy.loss=hinges.*Did you mean 'hinge'"):
        make_strategy(LinearProbe, loss="hinges")


def test_the_strength_is_the_best_on_validation() -> None:
    rows: dict[int, dict[str, float]] = {}
    probe = fit_probe(blobs(40, 30, 0), blobs(200, 30, 1), Classification(3), [0.001, 10, 0.1], on_row=rows.__setitem__)
    assert [row["l2"] for row in rows.values()] == [10, 0.1, 0.001]
    assert probe.scores["validation/accuracy"] == max(row["validation/accuracy"] for row in rows.values())
    assert rows[probe.number] == probe.scores
    assert probe.end == end_of(list(rows.values()), probe.number, Classification(3))


@pytest.mark.parametrize(
    ("accuracies", "best", "end"),
    [
        ([0.7, 0.8, 0.9], 2, "weak"),
        ([0.9, 0.8, 0.7], 0, "strong"),
        ([0.7, 0.9, 0.8], 1, ""),
        ([1.0, 1.0, 1.0], 2, ""),  # chosen by its loss
        ([0.9, 0.9, 0.7], 0, ""),
        ([0.7, 0.9], 1, "weak"),
        ([0.7], 0, ""),
    ],
)
def test_an_end_is_one_where_it_is_more_accurate_than_all_others(
    accuracies: list[float], best: int, end: str, caplog: pytest.LogCaptureFixture
) -> None:
    assert end_of([{"validation/accuracy": accuracy} for accuracy in accuracies], best, Classification(2)) == end
    warn_of_end(end, 0.1)
    assert (f"0.1, is the {end}est one tried" in caplog.text) == bool(end)


@pytest.mark.parametrize("cls", [LinearProbe, Ridge])
def test_strengths_that_are_all_right_give_no_warning(
    cls: type[LinearProbe | Ridge], caplog: pytest.LogCaptureFixture
) -> None:
    """Classes are well separated: the weakest strength has the lowest loss, but all are always right."""
    generator = torch.Generator().manual_seed(0)
    targets = torch.arange(80) % 10
    images = Features(
        100 * torch.randn(10, 8, generator=generator)[targets] + torch.randn(80, 8, generator=generator), targets
    )
    rows: dict[int, dict[str, float]] = {}
    best = make_strategy(cls, l2=[0.01, 0.001, 0.0001]).compute_head(images, images, rows.__setitem__)  # type: ignore[operator]
    assert best in (0, 2)
    assert all(row["validation/accuracy"] == 1 for row in rows.values())
    assert "strength" not in caplog.text


def test_the_network_gives_what_the_fit_gave(digits: Digits, tmp_path: Path) -> None:
    strategy = make_strategy(LinearProbe, l2=[0.1, 0.001])
    trainer = make_trainer(tmp_path)
    number = strategy.fit(trainer, digits)
    curve = pd.read_csv(tmp_path / "metrics.csv")
    assert curve["l2"].tolist() == [0.1, 0.001]
    again = trainer.validate(strategy, digits.val_dataloader(), verbose=False)[0]
    assert again["validation/accuracy"] == pytest.approx(curve["validation/accuracy"][number], abs=0.005)
    assert again["validation/loss"] == pytest.approx(curve["validation/loss"][number], rel=1e-3)


def long_tail(seed: int) -> Features:
    """Return 60, 20 and 5 images of three classes."""
    rng = np.random.default_rng(seed)
    targets = np.repeat([0, 1, 2], [60, 20, 5])
    values = np.random.default_rng(5).normal(size=(3, 8))[targets] + 1.5 * rng.normal(size=(85, 8))
    return Features(torch.tensor(values, dtype=torch.float32), torch.tensor(targets))


def test_balanced_weights_are_scikit_learns() -> None:
    targets = long_tail(0).targets
    found = balanced_weights(targets, 3).numpy()
    np.testing.assert_allclose(found, compute_sample_weight("balanced", targets.numpy()))


@pytest.mark.parametrize("l2", [1.0, 0.01])
def test_a_balanced_probe_is_scikit_learns(l2: float) -> None:
    train, held_out = long_tail(0), long_tail(1)
    probe = fit_probe(train, held_out, Classification(3, class_weights=[1, 1, 1]), [l2])
    scaler = StandardScaler().fit(train.values.double())
    reference = LogisticRegression(C=1 / (l2 * len(train.targets)), class_weight="balanced", tol=1e-10, max_iter=10_000)
    reference.fit(scaler.transform(train.values.double()), train.targets)
    expected = reference.predict_proba(scaler.transform(held_out.values.double()))
    logits = held_out.values.double() @ probe.weight.T + probe.bias
    np.testing.assert_allclose(logits.softmax(1).numpy(), expected, atol=2e-3)
    plain = fit_probe(train, held_out, Classification(3), [l2])
    assert not torch.allclose(plain.weight, probe.weight, atol=1e-2)
    expected_loss = nn.functional.cross_entropy(logits, held_out.targets)  # scores count images alike
    assert probe.scores["validation/loss"] == pytest.approx(float(expected_loss))


def test_a_balanced_hinge_reaches_scikit_learns_optimum() -> None:
    train, l2 = long_tail(0), 0.1
    mean, std = standardisation(train.values)
    x, weights = (train.values.double() - mean) / std, balanced_weights(train.targets, 3)
    fitted = fit_linear(x, train.targets, 3, l2, loss=LOSSES["hinge"], weights=weights)
    theirs = LinearSVC(C=1 / (l2 * len(x)), dual=False, intercept_scaling=1e3, tol=1e-9, max_iter=20_000)
    theirs.fit(x, train.targets, sample_weight=weights)
    signs = 2 * nn.functional.one_hot(train.targets) - 1
    logits = x @ torch.from_numpy(theirs.coef_).T + torch.from_numpy(theirs.intercept_)
    value = (weights * (1 - signs * logits).clamp_min(0).square().sum(dim=1)).mean()
    best = float(value) + l2 / 2 * float((theirs.coef_**2).sum())
    assert best * (1 - 1e-3) <= fitted.value <= best * (1 + 1e-4)
