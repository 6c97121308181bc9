"""Telling classes apart: a head, cross-entropy, accuracy."""

import math
from collections.abc import Sequence

import torch
from torch import Tensor, nn
from torch.nn import functional as F
from torchmetrics import MeanMetric

from headstart import ranks
from headstart.errors import ConfigError
from headstart.tasks.heads import LinearHead


class Classification:
    """One label a picture. Soft targets (N, classes) are taken everywhere that hard ones (N,) are.

    ``class_weights``, (classes,) of mean 1 over training images, weigh the training loss and nothing else.
    """

    def __init__(
        self,
        num_classes: int,
        label_smoothing: float = 0.0,
        head: LinearHead | None = None,
        class_weights: Sequence[float] | None = None,
    ) -> None:
        number = isinstance(label_smoothing, int | float) and not isinstance(label_smoothing, bool)
        if not number or not 0 <= label_smoothing < 1:
            raise ConfigError(f"task.label_smoothing={label_smoothing}: expected a share of at least 0 and below 1.")
        self.num_classes, self.label_smoothing = num_classes, label_smoothing
        self.head = head or LinearHead()
        self.class_weights = None if class_weights is None else torch.tensor(class_weights, dtype=torch.float64)

    @property
    def balanced(self) -> bool:
        """Whether every class weighs the same in training, whatever its number of images."""
        return self.class_weights is not None

    def make_head(self, feature_dim: int, seed: int) -> nn.Module:
        """New output layers, initialised from the seed alone."""
        return self.head.make(feature_dim, self.num_classes, seed)

    def soft(self, targets: Tensor) -> Tensor:
        """Labels (N,) to one-hot targets (N, classes) as floats."""
        return F.one_hot(targets, self.num_classes).float()

    def loss(self, logits: Tensor, targets: Tensor, training: bool = False) -> Tensor:
        """Mean cross-entropy in nats; in training alone labels are smoothed and classes weighed.

        Weighed, it is ``-sum_c w_c t_c log p_c`` of the (mixed, smoothed) targets t, the mean over images, so that it
        is linear in the targets and does not depend on which classes share a batch.
        """
        smoothing = self.label_smoothing if training else 0.0
        if not training or self.class_weights is None:
            return F.cross_entropy(logits, targets, label_smoothing=smoothing)
        # By labels, PyTorch would divide by the weights of the batch, by probabilities it divides by the images.
        soft = self.soft(targets) if targets.ndim == 1 else targets
        logits = logits.to(torch.promote_types(logits.dtype, torch.float32))
        weights = self.class_weights.to(logits)
        return F.cross_entropy(logits, soft.to(logits.dtype), weight=weights, label_smoothing=smoothing)


class Scores(nn.Module):
    """Loss and accuracy over an epoch, over the pictures of all processes that share it.

    With soft targets the accuracy is the expected one: the share of the predicted class in the target. With hard
    targets that is the usual accuracy.
    """

    def __init__(self) -> None:
        super().__init__()
        # A loss that is no number has to show: torchmetrics would drop it.
        self.loss, self.accuracy = (
            MeanMetric(nan_strategy="disable", distributed_available_fn=ranks.together) for _ in range(2)
        )
        self._batches: list[tuple[Tensor, Tensor]] = []  # handed over once an epoch, which is much faster

    @torch.no_grad()
    def update(self, logits: Tensor, targets: Tensor, loss: Tensor) -> None:
        """Add a batch: logits (N, classes), targets (N,) or (N, classes), its mean loss."""
        predicted = logits.argmax(dim=1)
        hits = targets.gather(1, predicted[:, None]).squeeze(1) if targets.ndim == 2 else (predicted == targets).float()
        self._batches.append((loss.detach().expand(len(logits)), hits))

    def state(self) -> tuple[Tensor, Tensor] | None:
        """The losses and hits so far, (pictures,) each; None where there are none."""
        if not self._batches:
            return None
        losses, hits = (torch.cat(parts).cpu() for parts in zip(*self._batches, strict=True))
        return losses, hits

    def take_up(self, state: tuple[Tensor, Tensor] | None, device: torch.device) -> None:
        """Go on from there."""
        if state is not None:
            self._batches.append((state[0].to(device), state[1].to(device)))

    def compute(self) -> dict[str, Tensor]:
        """The epoch's "loss" and "accuracy", starting afresh; no number where there was no batch."""
        if not self._batches:
            return {name: torch.tensor(math.nan) for name in ("loss", "accuracy")}
        # A value a picture: torchmetrics drops weights where it is told to keep what is no number.
        values = {}
        for name, metric, batches in zip(
            ("loss", "accuracy"), (self.loss, self.accuracy), zip(*self._batches, strict=True), strict=True
        ):
            metric.update(torch.cat(batches))
            values[name] = metric.compute()
            metric.reset()
        self._batches = []
        return values
