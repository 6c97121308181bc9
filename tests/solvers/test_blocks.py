"""Test that solvers hold blocks of images x classes, never all, and that blocks change no result."""

from collections.abc import Callable
from typing import Any

import pytest
import torch
from torch import Tensor
from torch.nn import functional as F
from torch.utils._python_dispatch import TorchDispatchMode
from torch.utils._pytree import tree_leaves

from headstart.solvers import blocks
from headstart.solvers.blocks import LazyRows, blocks_of, linear_rows
from headstart.solvers.centroids import SCALES, best_scale, class_means, nearest_mean, standardisation
from headstart.solvers.cross_fit import cross_fit
from headstart.solvers.features import Features
from headstart.solvers.linear_fit import LOSSES, fit_linear
from headstart.solvers.probe import scored, scored_by_blocks
from headstart.solvers.probe_fit import MemoryFits, balanced_weights
from headstart.solvers.ridge import ridge_path, solve
from headstart.tasks import Classification, Multilabel, Regression

IMAGES, SIZE, CLASSES = 400, 6, 40


class LargeTensors(TorchDispatchMode):
    """Keeps the shapes of all tensors of at least a third of images x classes that an operation returns."""

    def __init__(self) -> None:
        super().__init__()
        self.shapes: set[tuple[int, ...]] = set()

    def __torch_dispatch__(self, func: Any, types: Any, args: Any = (), kwargs: Any = None) -> Any:
        found = func(*args, **(kwargs or {}))
        for tensor in tree_leaves(found):
            if isinstance(tensor, Tensor) and tensor.numel() >= IMAGES * CLASSES / 3:
                self.shapes.add(tuple(tensor.shape))
        return found


def made(seed: int = 0) -> Features:
    draw = torch.Generator().manual_seed(seed)
    targets = torch.arange(IMAGES) % CLASSES
    centres = torch.randn(CLASSES, SIZE, generator=torch.Generator().manual_seed(9))
    return Features(centres[targets] + torch.randn(IMAGES, SIZE, generator=draw), targets)


def labels(split: Features) -> Features:
    return Features(split.values, F.one_hot(split.targets, CLASSES).float())


def ridge(task: Any, train: Features, validation: Features) -> list[Tensor]:
    found = []
    for probe in ridge_path(train, validation, task, [1.0, 0.1]):
        found += [probe.weight, probe.bias, torch.tensor([probe.scale, *probe.scores.values()], dtype=torch.float64)]
    return found


def fitted(loss: str, balanced: bool = False) -> list[Tensor]:
    train = made()
    weights = balanced_weights(train.targets, CLASSES) if balanced else None
    found = fit_linear(train.values.double(), train.targets, CLASSES, 0.1, loss=LOSSES[loss], weights=weights)
    return [found.weight, found.bias, torch.tensor(found.value)]


def in_memory() -> list[Tensor]:
    fits = MemoryFits(made(), made(1), CLASSES, LOSSES["logistic"])
    fits.fit(0.1)
    return [*fits.linear_map(), torch.tensor(list(fits.scores(Classification(CLASSES)).values()))]


def crossed() -> list[Tensor]:
    train = made()
    return [cross_fit(train.values, train.targets, CLASSES, torch.arange(IMAGES) % 3, (1.0,)).probabilities]


SOLVED: dict[str, Callable[[], list[Tensor]]] = {
    "ridge": lambda: ridge(Classification(CLASSES), made(), made(1)),
    "balanced ridge": lambda: ridge(Classification(CLASSES, class_weights=[1.0] * CLASSES), made(), made(1)),
    "ridge on labels": lambda: ridge(Multilabel(CLASSES), labels(made()), labels(made(1))),
    "nearest mean": lambda: list(nearest_mean(made().values, made().targets, CLASSES)),
    "logistic": lambda: fitted("logistic"),
    "balanced hinge": lambda: fitted("hinge", balanced=True),
    "fit in memory": in_memory,
    "cross fit": crossed,
}


NEEDED = {
    "cross fit": {(IMAGES, CLASSES)},  # its result
    "ridge on labels": {(IMAGES, CLASSES), (IMAGES, 2 * CLASSES)},  # mean average precision ranks all logits of a label
}


@pytest.mark.parametrize("name", SOLVED)
def test_blocks_bound_memory_and_change_no_result(name: str, monkeypatch: pytest.MonkeyPatch) -> None:
    """Iterative fits follow other roundings, so they agree as well as their tolerance allows."""
    whole = SOLVED[name]()
    monkeypatch.setattr(blocks, "BLOCK", 64 * CLASSES)
    with LargeTensors() as large:
        found = SOLVED[name]()
    assert large.shapes == NEEDED.get(name, set())
    tolerance = 1e-12 if "ridge" in name or name == "nearest mean" else 1e-6
    for one, other in zip(found, whole, strict=True):
        torch.testing.assert_close(one, other, rtol=tolerance, atol=tolerance)


def test_class_means_are_those_of_one_hot_targets() -> None:
    train = made()
    train.targets[train.targets == 3] = 4  # no image of class 3
    hot = F.one_hot(train.targets, CLASSES).double()
    expected = hot.T @ train.values.double() / hot.sum(dim=0).clamp(min=1)[:, None]
    torch.testing.assert_close(class_means(train.values, train.targets, CLASSES), expected, rtol=1e-12, atol=1e-12)


@pytest.mark.parametrize("spread", [0.0, 1e-9, 1e-3, 1.0, 1e3, 1e7])
@pytest.mark.parametrize("sign", [1, -1])
@pytest.mark.parametrize("noise", [0.0, 1.0])
def test_the_best_scale_is_the_best_of_all(spread: float, sign: int, noise: float) -> None:
    """Without noise all logits are right, or all wrong, so the cross-entropy has no minimum inside."""
    targets = torch.arange(60) % 5
    logits = torch.eye(5).double()[targets] + noise * torch.randn(60, 5, generator=torch.Generator().manual_seed(0))
    logits = sign * spread * logits
    expected = min(SCALES, key=lambda scale: float(F.cross_entropy(scale * logits, targets)))
    tried = []

    def loss(outputs: Tensor, targets: Tensor) -> Tensor:
        tried.append(1)
        return F.cross_entropy(outputs, targets)

    assert best_scale(logits, targets, loss) == expected
    assert len(tried) < 30


@pytest.mark.parametrize("kind", ["classification", "multilabel", "regression"])
def test_scores_of_one_block_are_those_of_the_task(kind: str) -> None:
    split = made()
    task: Any = {"classification": Classification(CLASSES), "multilabel": Multilabel(CLASSES)}.get(kind)
    if kind == "regression":
        task, split = Regression(mean=[0.0] * SIZE, deviation=[1.0] * SIZE), Features(split.values, split.values)
    elif kind == "multilabel":
        split = labels(split)
    weight = torch.randn(task.width, SIZE, generator=torch.Generator().manual_seed(1)).double()
    outputs = linear_rows(split.values, weight, weight[:, 0])
    expected = scored(task, test=(outputs[:], split.targets))
    assert scored_by_blocks(task, test=(outputs, split.targets)) == expected


def test_a_lazy_matrix_reads_only_the_rows_asked_for() -> None:
    seen = []
    values = torch.arange(300.0).reshape(100, 3)
    lazy = LazyRows(lambda rows: (seen.append(rows), values[rows])[1])
    assert torch.equal((2 * lazy)[slice(3, 5)], 2 * values[3:5])
    assert seen == [slice(3, 5)]
    assert list(blocks_of(100, 3, most=270)) == [slice(0, 90), slice(90, 100)]
    assert list(blocks_of(100, 3, most=3)) == [slice(0, 64), slice(64, 100)], "at least 64 rows"
    assert list(blocks_of(0, 3)) == []


def test_solutions_for_lazy_targets_are_those_for_a_matrix() -> None:
    train = made()
    hot, values = F.one_hot(train.targets, CLASSES).double(), train.values.double()
    lazy = LazyRows(lambda rows: hot[rows])
    for one, other in zip(solve(values, lazy, [0.1]), solve(values, hot, [0.1]), strict=True):
        assert torch.equal(one[1], other[1])
        assert torch.equal(one[2], other[2])
    mean, std = standardisation(train.values)
    x, y = (values - mean) / std, hot - hot.mean(dim=0)
    expected = torch.linalg.solve(x.T @ x + 0.1 * len(x) * torch.eye(SIZE).double(), x.T @ y).T / std
    torch.testing.assert_close(other[1], expected, rtol=1e-9, atol=1e-12)
