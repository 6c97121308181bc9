"""Make the mean of its training images stand for each class; the nearest mean decides.

There is nothing to tune and nothing to overfit.

Paper: Mensink et al. 2013
Command: headstart train strategy=nearest_centroid
Measured: 82.8 ± 0.7 % on 15-Scene, 25 labels a class, EfficientNet-Lite0 at 128 px, test accuracy over 3 seeds, in
  less than 1 s (docs/strategies.md).
Fails: where a class looks like several things: one mean cannot stand for them.
"""

from headstart.solvers.centroids import nearest_mean
from headstart.solvers.features import Features, in_double
from headstart.solvers.probe_fit import scores
from headstart.strategies.solved import OnRow, SolvedStrategy
from headstart.tasks.heads import put_linear


class NearestCentroid(SolvedStrategy):
    """Euclidean distance to the class means of standardised features (Mensink et al. 2013): nothing to tune."""

    picked, solver = "", "class means"

    def compute_head(self, train: Features, validation: Features, on_row: OnRow) -> int:
        """Means to weights: the classifier is linear."""
        train, validation = in_double(train), in_double(validation)
        weight, bias = nearest_mean(train.values, train.targets, self.task.width)
        row = {"candidate": 0.0, **scores("train", train.values @ weight.T + bias, train.targets)}
        on_row(0, row | scores("validation", validation.values @ weight.T + bias, validation.targets))
        put_linear(self.head, weight, bias)
        return 0

    def compute_again(self, images: Features) -> None:
        """Take the means of these images."""
        put_linear(self.head, *nearest_mean(images.values.double(), images.targets, self.task.width))
