"""Predict the class whose mean of training features is nearest.

There is nothing to tune and nothing to overfit.

Paper: Mensink et al. 2013
Command: headstart train strategy=nearest_centroid
Measured: 82.8 ± 0.7 % on 15-Scene, 25 labels a class, EfficientNet-Lite0 at 128 px, test accuracy over 3 seeds, in
  less than 1 s (docs/strategies.md).
Fails: where images of one class differ much, as one mean cannot represent them.
"""

from headstart.solvers.blocks import linear_rows
from headstart.solvers.centroids import nearest_mean
from headstart.solvers.features import Features, where_double
from headstart.solvers.probe import OnRow, scored_by_blocks
from headstart.strategies.solved import SolvedStrategy
from headstart.tasks.heads import put_linear


class NearestCentroid(SolvedStrategy):
    """Nearest class mean of standardised features, by Euclidean distance (Mensink et al. 2013)."""

    picked, solver = "", "class means"

    def compute_head(self, train: Features, validation: Features, on_row: OnRow) -> int:
        """Compute the class means and write them as the weights of a linear classifier."""
        splits = {"train": where_double(train), "validation": where_double(validation)}
        weight, bias = nearest_mean(splits["train"].values, splits["train"].targets, self.task.width)
        outputs = {name: (linear_rows(split.values, weight, bias), split.targets) for name, split in splits.items()}
        row = scored_by_blocks(self.task, **outputs)
        on_row(0, {"candidate": 0.0, **row})
        put_linear(self.head, weight, bias)
        return 0

    def compute_again(self, images: Features) -> None:
        """Compute the class means of these images."""
        put_linear(self.head, *nearest_mean(images.values, images.targets, self.task.width))
