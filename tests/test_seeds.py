"""Test seeds of any size."""

import torch

from headstart.seeds import for_torch


def test_torch_takes_seeds_of_any_size() -> None:
    assert [for_torch("backbone", seed) for seed in (0, -1, 2**63 - 1)] == [0, -1, 2**63 - 1]
    large = [for_torch("backbone", seed) for seed in (2**63, 10**22, -(10**22))]
    assert len(set(large)) == 3
    for seed in large:
        torch.Generator().manual_seed(seed)
