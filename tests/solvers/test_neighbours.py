"""Test which images are neighbours of each other."""

import torch

from headstart.solvers.neighbours import NearestNeighbours


def test_images_of_a_group_are_no_neighbours() -> None:
    values = torch.tensor([[1.0, 0.0], [1.0, 0.01], [1.0, 0.1], [0.0, 1.0]])
    memory = NearestNeighbours(values, torch.arange(4), 4, 2, 0.07)
    _, found = memory.nearest(values, 1, torch.arange(4))
    assert found[:, 0].tolist() == [1, 0, 1, 2], "each image alone: not itself"
    _, found = memory.nearest(values, 1, torch.tensor([5, 5, 6, 7]))
    assert found[:, 0].tolist() == [2, 2, 1, 2]
