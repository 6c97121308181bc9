"""Test that no image's probability comes from a fit that saw the image."""

import pytest
import torch

from headstart.solvers.cross_fit import cross_fit

FOLDS = torch.arange(60) % 5


def made() -> tuple[torch.Tensor, torch.Tensor]:
    """Return features (60, 8) of three overlapping classes, and their targets."""
    targets = torch.arange(60) // 20
    return torch.randn(60, 8, generator=torch.Generator().manual_seed(0)) + 3 * torch.eye(8)[targets], targets


def test_the_labels_and_features_of_a_fold_do_not_reach_its_own_fit() -> None:
    values, targets = made()
    before = cross_fit(values, targets, 3, FOLDS)
    inside = FOLDS == 2
    assert before.probabilities.sum(dim=1).allclose(torch.ones(60, dtype=torch.float64))
    assert (before.probabilities.argmax(dim=1) == targets).double().mean() > 0.8

    changed = torch.where(inside, (targets + 1) % 3, targets)
    after = cross_fit(values, changed, 3, FOLDS)
    assert torch.equal(after.probabilities[inside], before.probabilities[inside]), "its labels were never seen"
    assert not torch.equal(after.probabilities[~inside], before.probabilities[~inside])
    assert after.strengths[2] == before.strengths[2], "the choice of the strength did not see them"

    moved = values.clone()
    moved[2] += 100
    other = inside.clone()
    other[2] = False
    after = cross_fit(moved, targets, 3, FOLDS)
    close = torch.isclose(after.probabilities, before.probabilities, atol=1e-9).all(dim=1)
    assert close[other].all(), "nor its features"
    assert not close[2]


def test_fewer_than_three_folds_leave_none_to_choose_the_strength() -> None:
    values, targets = made()
    with pytest.raises(ValueError, match="2 folds, expected at least 3"):
        cross_fit(values, targets, 3, FOLDS % 2)


def test_a_class_may_be_missing_in_a_fit() -> None:
    values, targets = made()
    targets[:] = torch.arange(60) % 2
    targets[[0, 1]] = 2
    found = cross_fit(values, targets, 3, FOLDS)
    assert found.probabilities.isfinite().all()
