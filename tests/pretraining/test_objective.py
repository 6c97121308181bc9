"""Test that the shares of a batch get the random numbers of the whole batch."""

import torch

from headstart.pretraining.objective import Draws


def drawn(first: int = 0, total: int | None = None, count: int = 7) -> list[torch.Tensor]:
    draws = Draws(torch.Generator().manual_seed(0), first, total)
    return [draws.normal(torch.zeros(count, 2)), draws.uniform(count, 3), draws.below(8, count, 2)]


def test_shares_draw_the_numbers_of_the_whole_batch() -> None:
    for whole, one, other in zip(drawn(), drawn(0, 7, 4), drawn(4, 7, 3), strict=True):
        assert torch.equal(torch.cat([one, other]), whole)
        assert len(whole.unique()) > 1


def test_numbers_lie_where_they_should() -> None:
    normal, uniform, below = drawn(count=2000)
    assert abs(float(normal.mean())) < 0.05
    assert abs(float(normal.std()) - 1) < 0.05
    assert 0 <= float(uniform.min()) < 0.01 < 0.99 < float(uniform.max()) < 1
    assert below.unique().tolist() == list(range(8))
