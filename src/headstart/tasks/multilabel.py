"""Predict several labels per image: a logit for each label, binary cross-entropy, mean average precision."""

from collections.abc import Mapping, Sequence
from typing import Any

import torch
from torch import Tensor, nn
from torch.nn import functional as F

from headstart.errors import ConfigError
from headstart.kinds import KINDS
from headstart.kinds.per_image import mean_average_precision
from headstart.precision import at_least_single
from headstart.settings.leaf_table import check_parameters
from headstart.solvers import centroids
from headstart.solvers.blocks import Matrix
from headstart.solvers.features import Features
from headstart.solvers.neighbours import NearestNeighbours, NeighbourMean
from headstart.solvers.probe import Probe
from headstart.solvers.probe_fit import STRENGTHS, fit_probe_once, label_weights
from headstart.targets.label_sets import positive_weights
from headstart.tasks.consistency import bernoulli_divergence, log_mean
from headstart.tasks.heads import LinearHead


class Multilabel:
    """K labels; an image has any number of them. Targets are 0 or 1, float (N, K), or in between for mixed images.

    ``pos_weight`` (K,) multiplies the training loss of each label's positives.
    """

    kind = "multilabel"
    primary = KINDS[kind].primary.name
    higher_is_better = KINDS[kind].primary.higher_is_better
    by_pixel = False
    linear = True

    def __init__(
        self, num_labels: int, head: LinearHead | None = None, pos_weight: Sequence[float] | None = None
    ) -> None:
        check_parameters("task", locals())
        self.head = head or LinearHead()
        if self.head.init == "class_means":
            raise ConfigError("head.init=class_means: an image of task=multilabel has no single class; use default.")
        self.width = num_labels
        self.pos_weight = None if pos_weight is None else torch.tensor(pos_weight, dtype=torch.float64)

    @classmethod
    def settings_of(cls, data: Any) -> Mapping[str, Any]:
        """Return the number of labels, and the weights of positives if ``dataset.balance`` sets them."""
        weighed = {"pos_weight": positive_weights(data.train.targets)} if data.balance == "loss" else {}
        return {"num_labels": data.num_classes, **weighed}

    @property
    def balanced(self) -> bool:
        """Return whether positives and negatives of a label have equal total weight in training."""
        return self.pos_weight is not None

    def make_head(self, feature_dim: int, seed: int) -> nn.Module:
        """Return new output layers; only the seed determines their weights."""
        return self.head.make(feature_dim, self.width, seed)

    def soft(self, targets: Tensor) -> Tensor:
        """Return the labels as float32."""
        return targets.to(torch.float32)

    def loss(self, outputs: Tensor, targets: Tensor, training: bool = False) -> Tensor:
        """Return the binary cross-entropy in nats, averaged over images and labels; weighted only in ``training``."""
        logits = at_least_single(outputs)
        weight = self.pos_weight.to(logits) if training and self.pos_weight is not None else None
        return F.binary_cross_entropy_with_logits(logits, targets.to(logits), pos_weight=weight)

    def tally(self, outputs: Tensor, targets: Tensor) -> Tensor:
        """Return logits and labels, (N, 2 K)."""
        logits = at_least_single(outputs)
        return torch.cat([logits, targets.to(logits)], dim=1)

    def primary_of(self, tallies: Tensor) -> float:
        """Return the mean average precision over the labels that occur, from the tallies (N, 2 K).

        A mixed image counts as having a label if its target is at least 0.5.
        """
        tallies = tallies.cpu().double()
        scores, labels = tallies[:, : self.width].sigmoid(), tallies[:, self.width :] >= 0.5
        return mean_average_precision(labels.numpy(), scores.numpy())

    def score(self, outputs: Tensor, targets: Tensor) -> dict[str, float]:
        """Return loss and mean average precision, computed in float64."""
        outputs, targets = outputs.detach().cpu().double(), targets.cpu().double()
        return {"loss": float(self.loss(outputs, targets)), self.primary: self.primary_of(self.tally(outputs, targets))}

    def mean_over_views(self, outputs: Tensor) -> Tensor:
        """Return the log-odds (N, K) of the mean probabilities over V views, from logits (V, N, K)."""
        logits = at_least_single(outputs)
        return log_mean(F.logsigmoid(logits)) - log_mean(F.logsigmoid(-logits))

    def spread_over_views(self, outputs: Tensor) -> Tensor:
        """Return the Jensen-Shannon divergence of the views in nats, averaged over the labels."""
        return bernoulli_divergence(outputs)

    def start_head(self, head: nn.Module, features: Features) -> None:
        """Do nothing, as no ``head.init`` of this task needs features."""

    def make_neighbours(
        self, values: Tensor, targets: Tensor, neighbours: int, temperature: float
    ) -> NearestNeighbours:
        """Return a head that gives, for each label, the log-odds of its share among the nearest training images."""
        return NeighbourMean(values, targets, self.width, neighbours, temperature, odds=True)

    def regress_on(self, targets: Tensor) -> Tensor:
        """Return 1 for a label that an image has and -1 for one that it lacks, float64 (N, K)."""
        return 2 * targets.double() - 1

    def best_scale(self, outputs: Matrix, targets: Tensor) -> float:
        """Return the factor for the outputs that gives the lowest cross-entropy."""
        return centroids.best_scale(outputs, targets, self.loss)

    def weights_of(self, targets: Tensor) -> Tensor | None:
        """Return weights (N, K) that balance the positives and negatives of each label; None if not ``balanced``."""
        return label_weights(targets) if self.balanced else None

    def fit_probe(self, train: Features, validation: Features, strengths: Sequence[float] | None = None) -> Probe:
        """Return a logistic regression for each label on features, with the L2 strength that is best on validation."""
        return fit_probe_once(train, validation, self, strengths or STRENGTHS)
