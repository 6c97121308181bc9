"""Let the nearest training images vote.

Nothing is trained, so it shows how good the features are on their own.

Paper: Wu et al. 2018 (arXiv:1805.01978)
Command: headstart train strategy=knn
Measured: 79.6 ± 1.8 % on 15-Scene, 25 labels a class, EfficientNet-Lite0 at 128 px, test accuracy over 3 seeds;
  linear_probe has 84.3 (docs/strategies.md).
Fails: with few labels: neighbours of other classes are then among the nearest.
"""

from collections.abc import Callable, Mapping, Sequence
from typing import Any

import torch
from torch import Tensor

from headstart.progress import ProgressLine, counted
from headstart.settings.leaf_table import check_parameters
from headstart.settings.leaves import as_list
from headstart.solvers.blocks import LazyRows
from headstart.solvers.features import Features
from headstart.solvers.neighbours import NearestNeighbours
from headstart.solvers.probe import OnRow, rank, scored, scored_by_blocks
from headstart.strategies.solved import SolvedStrategy
from headstart.tasks import Several

NEIGHBOURS = (1, 3, 5, 10, 20, 50, 100)


class Knn(SolvedStrategy):
    """k nearest neighbours on unscaled features; validation chooses k from ``neighbours``.

    A k above the number of training images is not tried. In training scores, an image is not its own neighbour.
    """

    picked, solver, tasks = "neighbours", "votes", ("classification", "regression", "multilabel", "several")

    def __init__(
        self, *args: Any, neighbours: Sequence[int] = NEIGHBOURS, temperature: float = 0.07, **kwargs: Any
    ) -> None:
        super().__init__(*args, **kwargs)
        check_parameters("strategy", locals())
        self.candidates, self.temperature = sorted(as_list(neighbours)), float(temperature)

    def change_layers(self) -> None:
        """Set an empty head, which has no weights to train."""
        nothing = torch.empty(0, self.backbone.feature_dim), torch.empty(0, dtype=torch.int64)
        self.head = self.task.make_neighbours(*nothing, 1, 1.0)

    def compute_head(self, train: Features, validation: Features, on_row: OnRow) -> int:
        """Store the features of the training images and choose k."""
        candidates = [k for k in self.candidates if k < len(train.targets)] or [1]
        memory = self.task.make_neighbours(train.values, train.targets, candidates[-1], self.temperature)
        memory = memory.to(train.values.device)
        itself = torch.arange(len(train.targets), device=train.values.device)
        with ProgressLine("nearest neighbours", len(train.targets) + len(validation.targets)) as progress:
            own = memory.nearest(train.values, candidates[-1], itself, progress.advance)
            held_out = memory.nearest(validation.values, candidates[-1], on_chunk=progress.advance)
        score = scored if isinstance(self.task, Several) else scored_by_blocks  # ``scored`` also scores each output
        rows = []
        for number, count in enumerate(counted(candidates, "votes", len(candidates), "candidates")):
            votes, held_out_votes = (_lazy_votes(memory, count, *nearest) for nearest in (own, held_out))
            row = {"neighbours": float(count)}
            row |= score(self.task, train=(votes, train.targets), validation=(held_out_votes, validation.targets))
            on_row(number, row)
            rows.append(row)
        best = max(range(len(rows)), key=lambda number: rank(rows[number], self.task))
        memory.neighbours = candidates[best]
        self.head = memory
        return best

    def restore(self, state: Mapping[str, Tensor], chosen: Callable[[str], float]) -> None:
        """Load the tensors of a run; the number of neighbours is no tensor, so its row of scores gives it."""
        if {"head.memory", "head.labels"} <= state.keys():
            self.head = self.task.make_neighbours(
                state["head.memory"], state["head.labels"], int(chosen("neighbours")), self.temperature
            )
        super().restore(state, chosen)

    def compute_again(self, images: Features) -> None:
        """Store the features of these images; k stays the same."""
        head = self.head
        assert isinstance(head, NearestNeighbours)
        again = self.task.make_neighbours(images.values, images.targets, head.neighbours, head.temperature)
        self.head = again.to(images.values.device)


def _lazy_votes(memory: NearestNeighbours, count: int, cosines: Tensor, labels: Tensor) -> LazyRows:
    return LazyRows(lambda rows: memory.votes(cosines[rows], labels[rows], count))
