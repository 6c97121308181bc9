"""Test the Jensen-Shannon divergence of predictions."""

import math

import torch
from scipy.spatial.distance import jensenshannon

from headstart.tasks.consistency import jensen_shannon


def test_equal_views_have_none_and_opposite_ones_the_most() -> None:
    one = torch.randn(5, 7)
    assert abs(float(jensen_shannon(one.expand(3, 5, 7)))) < 1e-6
    assert abs(float(jensen_shannon(torch.stack([one, one + 3]))) - 0) < 1e-6  # a softmax does not mind a constant
    opposite = torch.tensor([[[1000.0, 0.0]], [[0.0, 1000.0]]])
    assert abs(float(jensen_shannon(opposite)) - math.log(2)) < 1e-6


def test_it_agrees_with_scipy_and_is_differentiable() -> None:
    logits = torch.randn(2, 4, 6, dtype=torch.float64, requires_grad=True)
    p, q = (view.softmax(dim=1).detach().numpy() for view in logits)
    expected = sum(jensenshannon(a, b) ** 2 for a, b in zip(p, q, strict=True)) / 4
    loss = jensen_shannon(logits)
    assert abs(float(loss) - expected) < 1e-5
    loss.backward()
    assert logits.grad is not None
    assert torch.isfinite(logits.grad).all()
    assert (logits.grad != 0).any()
