"""Classify images, with one class per image: head, cross-entropy, accuracy."""

from collections.abc import Mapping, Sequence
from typing import Any

import torch
from torch import Tensor, nn
from torch.nn import functional as F

from headstart.kinds import KINDS
from headstart.precision import at_least_single
from headstart.settings.leaf_table import check_parameters
from headstart.solvers import centroids
from headstart.solvers.blocks import Matrix
from headstart.solvers.features import Features
from headstart.solvers.neighbours import NearestNeighbours
from headstart.solvers.probe import Probe
from headstart.solvers.probe_fit import STRENGTHS, balanced_weights, fit_probe_once
from headstart.solvers.scoring import score_classes
from headstart.tasks.consistency import jensen_shannon, log_mean
from headstart.tasks.heads import LinearHead, start_from_class_means


class Classification:
    """One class per image. Targets are classes (N,); ``loss`` and ``tally`` also accept soft targets (N, classes).

    ``class_weights``, (classes,) with mean 1 over training images, weigh only the training loss.
    """

    kind = "classification"
    primary = KINDS[kind].primary.name
    higher_is_better = KINDS[kind].primary.higher_is_better
    by_pixel = False

    def __init__(
        self,
        num_classes: int,
        label_smoothing: float = 0.0,
        head: LinearHead | None = None,
        class_weights: Sequence[float] | None = None,
    ) -> None:
        check_parameters("task", locals())
        self.num_classes = self.width = num_classes
        self.label_smoothing = label_smoothing
        self.head = head or LinearHead()
        self.class_weights = None if class_weights is None else torch.tensor(class_weights, dtype=torch.float64)

    @classmethod
    def settings_of(cls, data: Any) -> Mapping[str, Any]:
        """Return the number of classes, and their weights if ``dataset.balance`` sets them."""
        weighed = {} if data.class_weights is None else {"class_weights": data.class_weights}
        return {"num_classes": data.num_classes, **weighed}

    @property
    def balanced(self) -> bool:
        """Return whether weights give all classes the same total weight in training."""
        return self.class_weights is not None

    @property
    def linear(self) -> bool:
        """Return True, as a linear head gives the logits themselves."""
        return True

    def make_head(self, feature_dim: int, seed: int) -> nn.Module:
        """Return new output layers; only the seed determines their weights."""
        return self.head.make(feature_dim, self.width, seed)

    def soft(self, targets: Tensor) -> Tensor:
        """Return classes (N,) as one-hot float32 (N, classes)."""
        return F.one_hot(targets, self.num_classes).to(torch.float32)

    def loss(self, outputs: Tensor, targets: Tensor, training: bool = False) -> Tensor:
        """Return the mean cross-entropy in nats, in float32 or wider.

        Labels are smoothed and classes are weighted only in ``training``. The weighted loss is the mean over images of
        ``-sum_c w_c t_c log p_c``, with (mixed, smoothed) targets t. It is linear in the targets and does not depend on
        the other images of the batch.
        """
        logits = at_least_single(outputs)
        targets = targets.to(logits.dtype) if targets.is_floating_point() else targets
        smoothing = self.label_smoothing if training else 0.0
        if not training or self.class_weights is None:
            return F.cross_entropy(logits, targets, label_smoothing=smoothing)
        # PyTorch divides by the batch's sum of weights for class indices, by the number of images for probabilities.
        soft = self.soft(targets).to(logits.dtype) if targets.ndim == 1 else targets
        return F.cross_entropy(logits, soft, weight=self.class_weights.to(logits), label_smoothing=smoothing)

    def tally(self, outputs: Tensor, targets: Tensor) -> Tensor:
        """Return 1 or 0, (N, 1), for a right or wrong prediction; soft targets give the predicted class's share."""
        predicted = outputs.argmax(dim=1, keepdim=True)
        hits = targets.gather(1, predicted) if targets.ndim == 2 else predicted == targets[:, None]
        return hits.to(torch.float32)

    def primary_of(self, tallies: Tensor) -> float:
        """Return the accuracy, from the tallies (N, 1)."""
        return float(tallies.double().sum()) / len(tallies)

    def score(self, outputs: Tensor, targets: Tensor) -> dict[str, float]:
        """Return loss and accuracy, computed in float64."""
        return score_classes(outputs, targets)

    def mean_over_views(self, outputs: Tensor) -> Tensor:
        """Return the logarithms (N, classes) of probabilities averaged over V views, from logits (V, N, classes)."""
        return log_mean(at_least_single(outputs).log_softmax(dim=2))

    def spread_over_views(self, outputs: Tensor) -> Tensor:
        """Return the Jensen-Shannon divergence of the views in nats."""
        return jensen_shannon(outputs)

    def start_head(self, head: nn.Module, features: Features) -> None:
        """Set the head's weights to the class means of the features."""
        start_from_class_means(head, features.values, features.targets)

    def make_neighbours(
        self, values: Tensor, targets: Tensor, neighbours: int, temperature: float
    ) -> NearestNeighbours:
        """Return a head in which the nearest training images vote for their classes."""
        return NearestNeighbours(values, targets, self.width, neighbours, temperature, self.balanced)

    def regress_on(self, targets: Tensor) -> Tensor:
        """Return one-hot targets, float64 (N, classes)."""
        return F.one_hot(targets, self.num_classes).double()

    def best_scale(self, outputs: Matrix, targets: Tensor) -> float:
        """Return the factor for the outputs that gives the lowest cross-entropy."""
        return centroids.best_scale(outputs, targets)

    def weights_of(self, targets: Tensor) -> Tensor | None:
        """Return the weight of each image in a solved fit, (N,) with mean 1; None if all weights are equal."""
        return balanced_weights(targets, self.num_classes) if self.balanced else None

    def fit_probe(self, train: Features, validation: Features, strengths: Sequence[float] | None = None) -> Probe:
        """Return a logistic regression on features, with the L2 strength that is best on validation."""
        return fit_probe_once(train, validation, self, strengths or STRENGTHS)
