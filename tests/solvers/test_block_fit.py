"""Test that a fit in blocks of rows reaches the optimum of the fit in memory, and holds only blocks."""

from collections.abc import Callable

import numpy as np
import pytest
import torch
from sklearn.linear_model import LogisticRegression
from torch import Tensor
from torch.nn import functional as F

from headstart.solvers import block_fit, probe_fit
from headstart.solvers.block_fit import BlockFits, CurvatureSums, block_standardisation
from headstart.solvers.centroids import standardisation
from headstart.solvers.features import Features
from headstart.solvers.linear_fit import LOSSES, Loss, LossResult, bernoulli, logistic
from headstart.solvers.probe_fit import MemoryFits, balanced_weights, fit_probe, kind_of_fit, label_weights
from headstart.tasks import Classification, Multilabel

STRENGTHS = (1.0, 0.1, 0.01)


def made(count: int, size: int, classes: int, seed: int = 0) -> Features:
    """Return overlapping classes of unequal size, with correlated features of different scales."""
    draw = torch.Generator().manual_seed(seed)
    targets = (classes * torch.rand(count, generator=draw) ** 2).long().clamp(max=classes - 1)
    spread = torch.arange(1, size + 1) ** -0.5
    turned = torch.randn(size, size, generator=torch.Generator().manual_seed(9))
    centres = torch.randn(classes, size, generator=torch.Generator().manual_seed(8))
    values = spread * (0.6 * centres[targets] + torch.randn(count, size, generator=draw)) @ turned
    return Features(5 + values * torch.logspace(-1, 1, size), targets)


def labels(split: Features) -> Features:
    return Features(split.values, torch.stack([split.targets % 2 == 0, split.targets > 1], dim=1).float())


@pytest.fixture(autouse=True)
def small_blocks(monkeypatch: pytest.MonkeyPatch) -> None:
    """Read at most 100 rows of 20 features at once."""
    monkeypatch.setattr(block_fit, "BLOCK", 2000)


CASES: dict[str, tuple[Loss, Callable[[Features], Features], Callable[[Tensor], Tensor] | None]] = {
    "logistic": (logistic, lambda split: split, None),
    "balanced": (logistic, lambda split: split, lambda targets: balanced_weights(targets, 4)),
    "hinge": (LOSSES["hinge"], lambda split: split, None),
    "labels": (bernoulli, labels, None),
    "balanced labels": (bernoulli, labels, label_weights),
    "float64": (logistic, lambda split: Features(split.values.double(), split.targets), None),
    "fewer images than features": (logistic, lambda split: Features(split.values[:15], split.targets[:15]), None),
}


@pytest.mark.parametrize("case", CASES)
def test_the_optimum_is_that_of_the_fit_in_memory(case: str) -> None:
    """Objectives agree to 1e-4, and probabilities to 1e-4 in the mean."""
    loss, change, weigh = CASES[case]
    train, held_out = change(made(750, 20, 4)), made(200, 20, 4, seed=1)
    width = train.targets.shape[1] if train.targets.ndim == 2 else 4
    weights = weigh(train.targets) if weigh else None
    held = change(held_out)
    both = [kind(train, held, width, loss, weights) for kind in (MemoryFits, BlockFits)]
    std = standardisation(train.values)[1]
    for l2 in STRENGTHS:
        assert all(fits.fit(l2) for fits in both)
        objectives, outputs = [], []
        for fits in both:
            weight, bias = fits.linear_map()
            assert weight.dtype == torch.float64
            logits = train.values.double() @ weight.T + bias
            hot = (F.one_hot(train.targets, width) if train.targets.ndim == 1 else train.targets).double()
            each = torch.ones(len(hot), 1) if weights is None else weights.reshape(len(hot), -1)
            penalty = 0.5 * l2 * (weight * std).square().sum()
            objectives.append(float(loss(logits, hot, each.double())[0] + penalty))
            outputs.append(held_out.values.double() @ weight.T + bias)
        assert objectives[1] == pytest.approx(objectives[0], rel=1e-4)
        assert objectives[1] <= objectives[0] * (1 + 1e-6)
        if loss is not LOSSES["hinge"]:
            probabilities = [found.softmax(1) if train.targets.ndim == 1 else found.sigmoid() for found in outputs]
            assert float((probabilities[1] - probabilities[0]).abs().mean()) < 1e-4
        if case != "float64":
            assert isinstance(both[1], BlockFits)
            assert both[1].value == pytest.approx(objectives[1], rel=1e-5), "rounding in float32"


def test_agrees_with_scikit_learn() -> None:
    train, held_out = made(600, 20, 4), made(200, 20, 4, seed=1)
    mean, std = standardisation(train.values)
    fits = BlockFits(train, held_out, 4, logistic)
    for l2 in STRENGTHS:
        fits.fit(l2)
        weight, bias = fits.linear_map()
        reference = LogisticRegression(C=1 / (l2 * 600), tol=1e-10, max_iter=10_000)
        reference.fit((train.values - mean) / std, train.targets)
        expected = reference.predict_proba((held_out.values - mean) / std)
        found = (held_out.values.double() @ weight.T + bias).softmax(1).numpy()
        np.testing.assert_allclose(found, expected, atol=1e-3)
        assert np.abs(found - expected).mean() < 1e-4


def test_standardisation_in_blocks_is_that_of_all_rows() -> None:
    values = made(500, 20, 4).values
    values[:, 3] = 7.0  # constant
    for found, expected in zip(block_standardisation(values), standardisation(values), strict=True):
        torch.testing.assert_close(found, expected, rtol=1e-10, atol=0)


def test_scores_do_not_depend_on_blocks() -> None:
    """Mean average precision is no mean over blocks; equal accuracies have to stay equal."""
    for task, change in ((Classification(4), lambda split: split), (Multilabel(2), labels)):
        train, held_out = change(made(500, 20, 4)), change(made(333, 20, 4, seed=1))
        fits = BlockFits(train, held_out, task.width, bernoulli if task.kind == "multilabel" else logistic)
        fits.fit(0.1)
        weight, bias = fits.linear_map()
        found = fits.scores(task)
        for name, split in (("train", train), ("validation", held_out)):
            expected = task.score(split.values.double() @ weight.T + bias, split.targets)
            assert found[f"{name}/{task.primary}"] == expected[task.primary]
            assert found[f"{name}/loss"] == pytest.approx(expected["loss"], rel=1e-5)


def test_many_classes_are_never_held_for_all_images() -> None:
    """Logits of all images would be 600 x 500 numbers; there are no one-hot targets."""
    sizes = []

    def seen(logits: Tensor, targets: Tensor, weights: Tensor) -> LossResult:
        sizes.append((logits.shape, targets.shape, weights.shape))
        return logistic(logits, targets, weights)

    train = made(600, 20, 500)
    fits = BlockFits(train, train, 500, seen)
    assert fits.fit(0.1)
    rows = {shapes[0] for shapes in sizes}
    assert rows == {(64, 500), (24, 500)}, "at least 64 rows, so that products stay fast"
    assert {shapes[1:] for shapes in sizes} == {((64,), (64, 1)), ((24,), (24, 1))}


def test_many_classes_with_few_images_take_few_iterations(monkeypatch: pytest.MonkeyPatch) -> None:
    """Their curvature comes from their own images, and it changes on the way from strength to strength."""
    draw = torch.Generator().manual_seed(0)
    targets = torch.arange(300) % 100
    centres = torch.randn(100, 60, generator=draw)
    train = Features(centres[targets] + torch.randn(300, 60, generator=draw), targets)

    def iterations() -> int:
        fits = BlockFits(train, train, 100, logistic)
        assert fits.fit(0.1)
        assert fits.fit(0.001)
        return fits.iterations

    found = iterations()
    assert found < 25
    for name, value in (("AGAIN", -1), ("OWN", 0)):
        with monkeypatch.context() as changed:
            changed.setattr(block_fit, name, value)
            assert iterations() > 1.5 * found


def test_the_inverse_is_that_of_the_approximate_hessian() -> None:
    draw = torch.Generator().manual_seed(0)
    x = torch.randn(40, 5, generator=draw).double()
    curvature = torch.rand(40, 3, generator=draw).double() ** 4
    sums = CurvatureSums(3, x.new_ones(5), 40)
    sums.add(0, x[:25], curvature[:25])
    sums.add(25, x[25:], curvature[25:])
    found = sums.result(lambda places: x[places])
    gradient = torch.randn(3, 6, generator=draw).double()
    step = found.inverse(0.1)(gradient)
    ones = torch.cat([x, torch.ones(40, 1)], dim=1)
    whole = curvature.sum(dim=1)
    shared = ones.T @ (whole[:, None] * ones) / whole.sum()  # moments that all classes share
    for number in range(3):
        own = curvature[:, number].topk(8).indices
        rest = curvature[:, number].sum() - curvature[own, number].sum()
        hessian = rest * shared + ones[own].T @ (curvature[own, number, None] * ones[own])
        hessian = hessian / 40 + 0.1 * torch.diag(torch.tensor([1.0] * 5 + [0.0]))
        torch.testing.assert_close(hessian @ step[number], gradient[number], rtol=1e-8, atol=1e-8)


def test_an_iteration_shows_how_far_its_pass_is() -> None:
    train, told = made(600, 20, 4), []
    fits = BlockFits(train, train, 4, logistic)
    fits.fit(0.1, on_iteration=lambda number, share: told.append((number, share)))
    assert told[:6] == [(0, pytest.approx(block / 6)) for block in range(6)], "blocks of 100 images"
    assert (1, 0.0) in told
    assert told.index((1, 0.0)) > told.index((0, pytest.approx(5 / 6)))


def test_each_fit_starts_on_the_line_through_earlier_ones() -> None:
    train = made(600, 20, 4)
    path = BlockFits(train, train, 4, logistic)
    steps = []
    for l2 in (0.1, 0.0316, 0.01, 0.01):
        assert path.fit(l2)
        steps.append(path.iterations)
    assert steps[3] <= 2, "the same strength again"
    cold = BlockFits(train, train, 4, logistic)
    assert cold.fit(0.01)
    assert steps[2] < cold.iterations
    assert cold.value == pytest.approx(path.value, rel=1e-5)


def test_a_class_without_images_and_a_constant_feature_are_possible() -> None:
    train = made(300, 20, 4)
    train.values[:, 0] = 3.0
    fits = BlockFits(train, train, 6, logistic)
    assert all(fits.fit(l2) for l2 in STRENGTHS)
    weight, bias = fits.linear_map()
    outputs = train.values.double() @ weight.T + bias
    assert outputs.isfinite().all()
    assert set(outputs.argmax(dim=1).tolist()) <= {0, 1, 2, 3}


def test_values_that_are_no_numbers_end_the_fit() -> None:
    train = made(300, 20, 4)
    fits = BlockFits(train, train, 4, lambda *of: (of[0].sum() * float("nan"), *logistic(*of)[1:]))
    assert not fits.fit(1.0)


def test_only_large_problems_are_fitted_in_blocks(monkeypatch: pytest.MonkeyPatch) -> None:
    train, held_out = made(400, 20, 4), made(200, 20, 4, seed=1)
    assert kind_of_fit(train, 4) is MemoryFits
    rows: dict[str, list[dict[str, float]]] = {"memory": [], "blocks": []}
    probes = {}
    for name, limit in (("memory", 400 * 20 * 4 + 1), ("blocks", 400 * 20 * 4)):
        monkeypatch.setattr(probe_fit, "LARGE", limit)
        probes[name] = fit_probe(
            train, held_out, Classification(4), STRENGTHS, on_row=lambda _, row, into=rows[name]: into.append(row)
        )
    assert probes["blocks"].number == probes["memory"].number
    for found, expected in zip(rows["blocks"], rows["memory"], strict=True):
        assert found == pytest.approx(expected, abs=1e-3)
    monkeypatch.setattr(probe_fit, "MOST_FEATURES", 19)
    assert kind_of_fit(train, 4) is MemoryFits
