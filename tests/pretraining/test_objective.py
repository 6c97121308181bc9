"""Test the random numbers of objectives, and which images are drawn."""

from types import SimpleNamespace
from typing import Any

import numpy as np
import pytest
import torch

from headstart.pretraining import Pretraining
from headstart.pretraining.objective import Draws, in_lines


def drawn(first: int = 0, total: int | None = None, count: int = 7) -> list[torch.Tensor]:
    draws = Draws(torch.Generator().manual_seed(0), first, total)
    return [draws.normal(torch.zeros(count, 2)), draws.uniform(count, 3), draws.below(8, count, 2)]


def test_shares_draw_the_numbers_of_the_whole_batch() -> None:
    for whole, one, other in zip(drawn(), drawn(0, 7, 4), drawn(4, 7, 3), strict=True):
        assert torch.equal(torch.cat([one, other]), whole)
        assert len(whole.unique()) > 1


def test_shares_of_several_views_hold_all_views_of_their_items() -> None:
    whole, one, other = (
        Draws(torch.Generator().manual_seed(0), first, 5, views=2).normal(torch.zeros(2 * count, 3))
        for first, count in ((0, 5), (0, 3), (3, 2))
    )
    both = [part.unflatten(0, (2, -1)) for part in (one, other)]
    assert torch.equal(torch.cat(both, dim=1).flatten(0, 1), whole)


def test_numbers_lie_where_they_should() -> None:
    normal, uniform, below = drawn(count=2000)
    assert abs(float(normal.mean())) < 0.05
    assert abs(float(normal.std()) - 1) < 0.05
    assert 0 <= float(uniform.min()) < 0.01 < 0.99 < float(uniform.max()) < 1
    assert below.unique().tolist() == list(range(8))


@pytest.mark.parametrize(
    ("sizes", "expected"),
    [([5, 5, 5, 2], [1, 5, 8, 11, 15, 16]), ([6], [0, 1, 2, 3, 4, 5]), ([4] * 12, [4, 12, 20, 28, 36, 44])],
)
def test_drawn_images_are_spread_over_the_test_batches(sizes: list[int], expected: list[int]) -> None:
    strategy: Any = SimpleNamespace(trainer=SimpleNamespace(num_test_batches=[len(sizes)]))
    strategy._samples, strategy._batches_tested = [], 0
    for batch in torch.arange(sum(sizes)).split(sizes):
        Pretraining._keep_samples(strategy, batch, batch, batch)
    assert torch.cat([sample.inputs for sample in strategy._samples]).tolist() == expected


def test_small_images_are_drawn_larger_and_apart() -> None:
    black = np.zeros((2, 40, 40, 3), np.uint8)
    drawn = in_lines([black, black])
    assert drawn.shape == (2 * 82, 2 * 82, 3)
    assert (drawn[:80, :80] == 0).all()
    assert (drawn[80:82] == 255).all()
    assert in_lines([np.zeros((1, 200, 200, 3), np.uint8)]).shape == (202, 202, 3)
