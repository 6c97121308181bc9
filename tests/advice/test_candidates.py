"""Test on which images candidates are compared."""

from collections.abc import Callable
from types import SimpleNamespace

import numpy as np
import pytest
import torch
from torch import Tensor
from torch.nn import functional as F

from headstart.advice import candidates
from headstart.advice.candidates import folds_for
from headstart.solvers.features import Features
from headstart.tasks import Classification


class Labelled(SimpleNamespace):
    def __len__(self) -> int:
        return len(self.targets)


@pytest.mark.parametrize(
    ("train", "validation", "is_drawn", "folds"),
    [
        ([40, 40], [10, 10], True, 5),
        ([40, 40], [10, 10], False, 1),
        ([4000, 4000], [500, 500], True, 1),
        ([40, 2], [10, 1], True, 3),
        ([116, 115], [29, 29], True, 5),  # 4.98 times the validation images
        ([10, 10], [40, 40], True, 1),  # few labels: folds of all would train on 80 images instead of 20
        ([40, 40], [40, 40], True, 2),
    ],
)
def test_a_small_drawn_split_is_replaced_by_folds(
    train: list[int], validation: list[int], is_drawn: bool, folds: int
) -> None:
    splits = [Labelled(targets=np.repeat([0, 1], counts)) for counts in (train, validation)]
    target = SimpleNamespace(train=splits[0], validation=splits[1], validation_is_drawn=is_drawn)
    assert folds_for(target) == folds  # type: ignore[arg-type]


@pytest.mark.parametrize(("parts", "expected"), [(1, 10), (5, 50)])
def test_every_image_is_held_out_once(parts: int, expected: int) -> None:
    """The answers are right for the very images that were fitted, and wrong for all others."""
    values = torch.arange(50.0)[:, None]
    targets = torch.arange(50) % 2
    asked: list[float] = []

    def solve(known: Features, held_out: Features, task: Classification) -> Callable[[Tensor], Tensor]:
        assert set(known.values.flatten().tolist()) | set(held_out.values.flatten().tolist()) == set(range(50))

        def answer(of: Tensor) -> Tensor:
            asked.extend(of.flatten().tolist())
            seen = torch.isin(of, known.values).flatten()
            return F.one_hot(
                torch.where(seen, targets[of.flatten().long()], 1 - targets[of.flatten().long()]), 2
            ).double()

        return answer

    train, validation = Features(values[:40], targets[:40]), Features(values[40:], targets[40:])
    correct, loss = candidates._tried(solve, train, validation, Classification(2), parts)
    assert correct.tolist() == [False] * expected
    assert sorted(asked) == list(range(50 - expected, 50))
    assert loss == pytest.approx(np.log(1 + np.e))  # logits 0 and 1, the wrong way
