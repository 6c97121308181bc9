"""Test on which images candidates are compared."""

from collections.abc import Callable, Iterator
from types import SimpleNamespace

import numpy as np
import pytest
import torch
from torch import Tensor
from torch.nn import functional as F

from headstart.advice import candidates
from headstart.advice.candidates import (
    ScoredCandidate,
    SolvedCandidate,
    advised,
    folds_for,
    in_order,
    scored_by_halves,
    scored_elsewhere,
)
from headstart.analysis.layer_report import JOINED
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
        ([500, 500], [500, 500], True, 2),  # as with labels_per_class=500
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

    def solve(known: Features, held_out: Features, task: Classification) -> Iterator[Callable[[Tensor], Tensor]]:
        assert set(known.values.flatten().tolist()) | set(held_out.values.flatten().tolist()) == set(range(50))

        def answer(of: Tensor) -> Tensor:
            asked.extend(of.flatten().tolist())
            seen = torch.isin(of, known.values).flatten()
            return F.one_hot(
                torch.where(seen, targets[of.flatten().long()], 1 - targets[of.flatten().long()]), 2
            ).double()

        yield answer

    train, validation = Features(values[:40], targets[:40]), Features(values[40:], targets[40:])
    correct, loss = candidates._tried(solve, train, validation, Classification(2), parts)
    assert correct.tolist() == [0.0] * expected
    assert sorted(asked) == list(range(50 - expected, 50))
    assert loss == pytest.approx(np.log(1 + np.e))  # logits 0 and 1, the wrong way


def test_the_strength_of_one_fold_is_scored_on_the_others() -> None:
    right = [[[1, 1], [0, 1]], [[0, 0, 1], [1, 1, 0]], [[0], [0]]]  # by fold and strength
    loss = [[[9, 9], [1, 1]], [[1, 2, 3], [4, 5, 6]], [[7], [6]]]
    folds = [(np.array(fold) == 1, np.array(losses, float)) for fold, losses in zip(right, loss, strict=True)]
    correct, mean = scored_elsewhere(folds)  # chosen: the first; the second; the second, with the lower loss
    assert correct.tolist() == [0, 1, 0.5, 0.5, 0.5, 0]
    assert mean == pytest.approx((1 + 1 + (1 + 4 + 2 + 5 + 3 + 6) / 2 + (7 + 6) / 2) / 6)
    fewer = [folds[0], tuple(part[:1] for part in folds[1]), folds[2]]
    assert scored_elsewhere(fewer)[0].tolist() == [0.5, 1, 0, 0, 1, 0]


def test_halves_keep_the_order_of_the_images() -> None:
    wrong = np.isin(np.arange(40), [3, 4, 30])
    correct, loss = scored_by_halves((np.array([~wrong, ~wrong]), np.array([np.arange(40.0), np.arange(40.0)])))
    assert correct.tolist() == (~wrong).tolist()
    assert loss == pytest.approx(19.5)


@pytest.mark.parametrize("parts", [1, 5])
def test_many_useless_strengths_look_no_better_than_one(parts: int) -> None:
    """The best of 20 guesses is far above one half on the images that choose it."""
    generator = torch.Generator().manual_seed(0)
    targets = torch.arange(300) % 2

    def solve(known: Features, held_out: Features, task: Classification) -> Iterator[Callable[[Tensor], Tensor]]:
        for _ in range(20):
            yield lambda values: torch.rand(len(values), 2, generator=generator)

    train, validation = Features(torch.zeros(240, 1), targets[:240]), Features(torch.zeros(60, 1), targets[240:])
    scores = [candidates._tried(solve, train, validation, Classification(2), parts)[0].mean() for _ in range(100)]
    assert np.mean(scores) == pytest.approx(0.5, abs=0.03)


def candidate(stage: str, *wrong: int, backbone: str = "resnet", strategy: str = "ridge") -> SolvedCandidate:
    """Return a candidate that is right on all of 100 images but those between two numbers."""
    correct = ~np.isin(np.arange(100), np.arange(*wrong))
    return SolvedCandidate(backbone, stage, [], strategy, correct.astype(float), 0.0, 0.0, lambda: torch.clone)


@pytest.mark.parametrize(
    ("joined", "expected"),
    [
        (candidate(JOINED, 5, 15), JOINED),
        (candidate(JOINED, 5, 16), JOINED),  # a lead of 0.01 with a standard error of 0.033
        (candidate(JOINED, 0, 15), "stage3"),  # 0.05 with 0.022
        (candidate(JOINED, 5, 16, backbone="vit"), "stage3"),
        (candidate(JOINED, 5, 16, strategy="knn"), "stage3"),
    ],
)
def test_joined_stages_replace_a_stage_that_is_hardly_better(joined: SolvedCandidate, expected: str) -> None:
    chosen = advised(in_order([candidate("stage3", 0, 10), joined, candidate("stage4", 20, 40)]))
    assert chosen.stage == expected


def tuned(*wrong: int) -> ScoredCandidate:
    """Return a trained candidate that is right on all of 100 images but those between two numbers."""
    correct = ~np.isin(np.arange(100), np.arange(*wrong))
    return ScoredCandidate("resnet", "stage4", [], "finetune_all", correct.astype(float), 0.0, 0.0)


@pytest.mark.parametrize(
    ("trained", "solved", "expected"),
    [
        (tuned(5, 15), [candidate("stage3", 0, 20)], "finetune_all"),  # a lead of 0.1 with a standard error of 0.03
        (tuned(5, 15), [candidate("stage3", 0, 11)], "ridge stage3"),  # 0.01 with 0.03
        (tuned(0, 20), [candidate("stage3", 0, 11)], "ridge stage3"),
        (tuned(5, 15), [candidate("stage3", 0, 11), candidate(JOINED, 0, 12)], "ridge all joined"),  # 0.02 with 0.028
        (tuned(5, 15), [candidate("stage3", 0, 11), candidate(JOINED, 0, 20)], "ridge stage3"),
        # Joined stages are close enough to the best stage (0.01 with 0.036), but not to the trained one.
        (tuned(5, 10), [candidate("stage3", 13, 24), candidate(JOINED, 5, 17)], "finetune_all"),
    ],
)
def test_training_must_be_better_by_more_than_one_standard_error(
    trained: ScoredCandidate, solved: list[SolvedCandidate], expected: str
) -> None:
    chosen = advised(in_order([trained, *solved]))
    assert expected in f"{chosen.strategy} {chosen.stage}"
