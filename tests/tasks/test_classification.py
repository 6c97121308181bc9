"""Test that loss and accuracy agree with torch and torchmetrics, also for soft targets."""

import numpy as np
import pytest
import torch
from hypothesis import given
from hypothesis import strategies as st
from torch.nn import functional as F
from torchmetrics.classification import MulticlassAccuracy

from headstart.solvers.scoring import score_classes
from headstart.tasks import Classification, EpochScores


def test_scores_over_uneven_batches_equal_the_whole() -> None:
    torch.manual_seed(0)
    logits, targets = torch.randn(50, 7), torch.randint(7, (50,))
    task = Classification(7)
    scores = EpochScores(task)
    for part in (slice(0, 30), slice(30, 50)):
        scores.update(logits[part], targets[part], task.loss(logits[part], targets[part]))
    values = scores.compute()
    torch.testing.assert_close(values["accuracy"].float(), MulticlassAccuracy(7, average="micro")(logits, targets))
    torch.testing.assert_close(values["loss"].float(), torch.nn.functional.cross_entropy(logits, targets))


def test_soft_targets() -> None:
    task = Classification(3)
    scores = EpochScores(task)
    logits = torch.tensor([[5.0, 0.0, 0.0], [0.0, 5.0, 0.0]])
    soft = torch.tensor([[0.7, 0.3, 0.0], [0.4, 0.0, 0.6]])
    loss = task.loss(logits, soft)
    torch.testing.assert_close(loss, -(soft * logits.log_softmax(1)).sum(1).mean())
    scores.update(logits, soft, loss)
    assert scores.compute()["accuracy"].item() == pytest.approx(0.35)
    hard = torch.tensor([0, 2])
    torch.testing.assert_close(task.loss(logits, task.soft(hard)), task.loss(logits, hard))


def test_the_head_depends_on_its_seed_alone() -> None:
    task = Classification(5)
    one = task.make_head(8, 1)
    torch.manual_seed(99)
    assert torch.equal(one.weight, task.make_head(8, 1).weight)
    assert not torch.equal(one.weight, task.make_head(8, 2).weight)


WEIGHTS = np.array([0.5, 1.0, 3.0])


def test_weights_count_in_training_alone() -> None:
    task, plain = Classification(3, class_weights=WEIGHTS), Classification(3)
    logits, targets = torch.randn(20, 3, generator=torch.Generator().manual_seed(0)), torch.arange(20) % 3
    assert torch.equal(task.loss(logits, targets), plain.loss(logits, targets))
    of_image = torch.tensor(WEIGHTS).float()[targets]
    expected = (of_image * F.cross_entropy(logits, targets, reduction="none")).mean()
    torch.testing.assert_close(task.loss(logits, targets, training=True), expected)
    by_torch = F.cross_entropy(logits, targets, torch.tensor(WEIGHTS).float(), reduction="sum") / 20
    torch.testing.assert_close(task.loss(logits, targets, training=True), by_torch)


@pytest.mark.parametrize("smoothing", [0.0, 0.1])
def test_hard_and_soft_targets_weigh_the_same_and_mixes_are_linear(smoothing: float) -> None:
    task = Classification(3, smoothing, class_weights=WEIGHTS)
    logits, targets = torch.randn(20, 3, generator=torch.Generator().manual_seed(0)), torch.arange(20) % 3
    soft, other = task.soft(targets), task.soft(targets.flip(0))
    one, two = (task.loss(logits, labels, training=True) for labels in (soft, other))
    torch.testing.assert_close(task.loss(logits, targets, training=True), one)
    torch.testing.assert_close(task.loss(logits, 0.3 * soft + 0.7 * other, training=True), 0.3 * one + 0.7 * two)
    # Parts of a batch give the loss of the whole, whichever classes they hold.
    parts = [task.loss(logits[rows], targets[rows], training=True) for rows in (slice(0, 5), slice(5, 20))]
    torch.testing.assert_close(0.25 * parts[0] + 0.75 * parts[1], one)


@pytest.mark.parametrize("precision", [torch.bfloat16, torch.float16, torch.float32, torch.float64])
@given(seed=st.integers(0, 10**6), sizes=st.lists(st.integers(1, 300), min_size=1, max_size=4))
def test_scores_are_exact_in_every_precision(precision: torch.dtype, seed: int, sizes: list[int]) -> None:
    rng = np.random.default_rng(seed)
    targets = torch.from_numpy(rng.integers(0, 5, sum(sizes)))
    logits = torch.from_numpy(rng.normal(size=(sum(sizes), 5))).to(precision)  # in 8 bits many are equal
    task = Classification(5)
    scores = EpochScores(task)
    torch.nn.ModuleList([part for part in (scores, task) if isinstance(part, torch.nn.Module)]).to(precision)
    for some, labels in zip(logits.split(sizes), targets.split(sizes), strict=True):
        scores.update(some, labels, task.loss(some, labels))
    values = {name: value.item() for name, value in scores.compute().items()}
    rows = logits.double().numpy()
    exact = sum(int(row.argmax()) == target for row, target in zip(rows, targets.tolist(), strict=True)) / len(rows)
    own = -torch.from_numpy(rows).log_softmax(1)[range(len(rows)), targets].mean().item()
    assert values["accuracy"] == score_classes(logits, targets)["accuracy"] == exact
    assert values["loss"] == pytest.approx(own, rel=1e-6)
    assert score_classes(logits, targets)["loss"] == pytest.approx(own, rel=1e-12)


@pytest.mark.parametrize("precision", [torch.bfloat16, torch.float16, torch.float32])
def test_losses_of_any_target_are_taken_in_32_bits(precision: torch.dtype) -> None:
    torch.manual_seed(1)
    task, logits, targets = Classification(4, label_smoothing=0.1), torch.randn(9, 4), torch.randint(4, (9,))
    soft = task.soft(targets) * 0.7 + task.soft(targets.flip(0)) * 0.3
    logits = logits.to(precision)
    for of in (targets, soft, soft.to(precision).float()):
        loss = task.loss(logits, of, training=True)
        assert loss.dtype == torch.float32
        expected = torch.nn.functional.cross_entropy(logits.float(), of, label_smoothing=0.1)
        assert torch.equal(loss, expected)
