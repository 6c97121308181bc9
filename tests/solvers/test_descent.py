"""Test the descent to a minimum, and the starts along a path of strengths."""

from collections.abc import Iterator

import pytest
import torch
from torch import Tensor
from torch.nn.functional import one_hot

from headstart.solvers import probe_fit
from headstart.solvers.block_fit import BlockFits
from headstart.solvers.descent import AGAIN, SPAN, Inverse, Starts, minimise
from headstart.solvers.features import Features
from headstart.solvers.linear_fit import Loss, bernoulli, fit_linear, hinge, logistic
from headstart.solvers.probe_fit import STRENGTHS, MemoryFits


class Bowl:
    """A quadratic function with a known minimum; its Hessian is diagonal, and known as far as ``known`` says."""

    def __init__(self, known: float = 1.0) -> None:
        draw = torch.Generator().manual_seed(0)
        self.hessian = 10 ** (4 * torch.rand(3, 21, generator=draw).double())
        self.bottom = torch.randn(3, 21, generator=draw).double()
        self.known, self.measured = known, 0

    def value_and_gradient(self, parameters: Tensor, measure: bool = False) -> tuple[float, Tensor]:
        self.measured += measure
        away = parameters - self.bottom
        return 1 + float((self.hessian * away**2).sum()) / 2, self.hessian * away

    def inverse(self) -> Inverse:
        return lambda gradient: gradient / self.hessian**self.known


def test_a_known_hessian_gives_the_minimum_in_one_step() -> None:
    bowl = Bowl()
    found = minimise(bowl, torch.zeros(3, 21).double())
    assert found.converged
    assert found.iterations == 1
    assert found.value == 1
    torch.testing.assert_close(found.parameters, bowl.bottom)


def test_steps_correct_a_wrong_hessian() -> None:
    bowl, iterations = Bowl(known=0.0), []
    found = minimise(bowl, torch.zeros(3, 21).double(), on_iteration=iterations.append)
    assert found.converged
    assert found.value == pytest.approx(1, abs=2e-5)
    assert found.iterations > AGAIN
    assert iterations == list(range(1, found.iterations + 1))
    assert bowl.measured == 2, "at the start and after step AGAIN"
    bowl = Bowl(known=0.0)
    assert minimise(bowl, torch.zeros(3, 21).double(), measure=False, again=-1).converged
    assert not bowl.measured


@pytest.mark.parametrize(("value", "slope"), [("nan", "1"), ("inf", "1"), ("1", "nan"), ("1", "inf")])
def test_no_number_is_no_minimum(value: str, slope: str) -> None:
    class Nothing(Bowl):
        def value_and_gradient(self, parameters: Tensor, measure: bool = False) -> tuple[float, Tensor]:
            return float(value), torch.full_like(parameters, float(slope))

    assert not minimise(Nothing(), torch.ones(3, 21).double()).converged


def test_a_descent_towards_zero_ends() -> None:
    """If no image has a label, ever lower biases lower the objective."""
    labels = torch.zeros(200, 6)
    found = fit_linear(torch.randn(200, 40).double(), labels, 6, 100.0, loss=bernoulli)
    assert found.converged
    assert found.value < 1e-10
    assert found.iterations < 100


def test_steps_that_gain_nothing_end() -> None:
    class Rounded(Bowl):
        def value_and_gradient(self, parameters: Tensor, measure: bool = False) -> tuple[float, Tensor]:
            return 1.0, torch.full_like(parameters, 1e-3)

    found = minimise(Rounded(known=0.0), torch.ones(3, 21).double())
    assert found.converged
    assert found.iterations == SPAN


def test_a_start_is_on_the_line_through_the_last_two_solutions() -> None:
    first, second = torch.full((2, 3), 1.0), torch.full((2, 3), 3.0)
    for jumps in (False, True):
        starts = Starts(torch.zeros(2, 3), jumps)
        assert torch.equal(starts.start(1.0), torch.zeros(2, 3))
        starts.add(1.0, first)
        assert torch.equal(starts.start(0.1), first), "there is no line through one"
        starts.add(0.1, second)
        by_strength = {0.01: 5.0, 0.1: 3.0, 0.1**1.5: 4.0, 1e-9: 5.0, 1.0: 3.0}
        for l2, expected in by_strength.items():
            torch.testing.assert_close(starts.start(l2), torch.full((2, 3), 3.0 if jumps else expected))
        starts.add(0.1, second)
        assert torch.equal(starts.start(0.01), second), "the same strength twice"


def test_a_path_may_end_without_a_penalty() -> None:
    targets = torch.arange(300) % 3
    train = Features(torch.randn(300, 5, generator=torch.Generator().manual_seed(0)), targets)
    for kind in (MemoryFits, BlockFits):
        fits = kind(train, train, 3, logistic)
        for l2 in (1.0, 0.0, 0.0):
            assert fits.fit(l2)
        weight, bias = fits.linear_map()
        x = train.values.double()
        slope = (x @ weight.T + bias).softmax(dim=1) - one_hot(targets)
        assert float((slope.T @ x / 300).abs().max()) < 1e-3, kind
        assert fits.iterations == 0, "the last fit starts at the minimum"


@pytest.fixture
def separable() -> Features:
    draw = torch.Generator().manual_seed(0)
    targets = torch.arange(120) % 4
    spectrum = torch.arange(1, 161) ** -0.5
    return Features(
        (torch.randn(4, 160, generator=draw)[targets] + torch.randn(120, 160, generator=draw)) * spectrum, targets
    )


def iterations_of(separable: Features, loss: Loss) -> Iterator[tuple[int, float]]:
    fits = MemoryFits(separable, separable, 4, loss)
    for l2 in STRENGTHS:
        assert fits.fit(l2)
        assert fits.last is not None
        yield fits.iterations, fits.last.value


def test_a_line_through_solutions_saves_iterations(separable: Features, monkeypatch: pytest.MonkeyPatch) -> None:
    found = list(iterations_of(separable, logistic))
    monkeypatch.setattr(Starts, "start", lambda starts, l2: starts._fitted[-1][1])
    plain = list(iterations_of(separable, logistic))
    assert sum(count for count, _ in found) < 0.7 * sum(count for count, _ in plain)
    for (_, value), (_, expected) in zip(found, plain, strict=True):
        assert value == pytest.approx(expected, rel=1e-5)


def test_the_end_does_not_depend_on_the_start(separable: Features) -> None:
    """The hinge has no line to start from, and reaches the same minimum from far away."""
    for number, (_, value) in enumerate(iterations_of(separable, hinge)):
        fits = MemoryFits(separable, separable, 4, hinge)
        assert fits.fit(STRENGTHS[number])
        assert fits.last is not None
        assert fits.last.value == pytest.approx(value, rel=2e-4)


def test_few_images_give_few_unknowns() -> None:
    for images, unknowns in ((10, 10), (29, 29), (30, 40), (100, 40)):
        x = torch.randn(images, 40, generator=torch.Generator().manual_seed(0)).double()
        basis = probe_fit.principal_axes(x)
        assert basis.shape == (unknowns, 40)
        torch.testing.assert_close(basis @ basis.T, torch.eye(unknowns).double())
        torch.testing.assert_close(x @ basis.T @ basis, x)
        products = (x @ basis.T).T @ (x @ basis.T)
        torch.testing.assert_close(products, products.diagonal().diag(), atol=1e-9, rtol=0)
