"""Telling classes apart: a head, cross-entropy, accuracy."""

import math
from collections.abc import Sequence

import torch
from torch import Tensor, nn
from torch.nn import functional as F

from headstart import ranks
from headstart.errors import ConfigError
from headstart.precision import at_least_single
from headstart.tasks.heads import LinearHead


class Classification:
    """One label an image. Soft targets (N, classes) are taken everywhere that hard ones (N,) are.

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
        return F.one_hot(targets, self.num_classes).to(torch.float32)

    def loss(self, logits: Tensor, targets: Tensor, training: bool = False) -> Tensor:
        """Return the mean cross-entropy in nats, in float32 or wider; training alone smooths labels and weighs classes.

        Weighed, it is ``-sum_c w_c t_c log p_c`` of the (mixed, smoothed) targets t, the mean over images, so that it
        is linear in the targets and does not depend on which classes share a batch.
        """
        logits = at_least_single(logits)
        targets = targets.to(logits.dtype) if targets.is_floating_point() else targets
        smoothing = self.label_smoothing if training else 0.0
        if not training or self.class_weights is None:
            return F.cross_entropy(logits, targets, label_smoothing=smoothing)
        # By labels, PyTorch would divide by the weights of the batch, by probabilities it divides by the images.
        soft = self.soft(targets).to(logits.dtype) if targets.ndim == 1 else targets
        return F.cross_entropy(logits, soft, weight=self.class_weights.to(logits), label_smoothing=smoothing)


class EpochScores:
    """Loss and accuracy over an epoch, over the images of all processes that share it.

    With soft targets the accuracy is the expected one: the share of the predicted class in the target. With hard
    targets that is the usual accuracy. Sums are in float64 whatever the network's precision is: no module, as a
    trainer converts the tensors of modules to that precision.
    """

    def __init__(self) -> None:
        self._batches: list[tuple[Tensor, Tensor]] = []  # added up once an epoch, which is much faster

    @torch.no_grad()
    def update(self, logits: Tensor, targets: Tensor, loss: Tensor) -> None:
        """Add a batch: logits (N, classes), targets (N,) or (N, classes), its mean loss."""
        predicted = logits.argmax(dim=1)
        hits = targets.gather(1, predicted[:, None]).squeeze(1) if targets.ndim == 2 else predicted == targets
        self._batches.append((at_least_single(loss.detach()).expand(len(logits)), hits.to(torch.float32)))

    def state(self) -> tuple[Tensor, Tensor] | None:
        """The losses and hits so far, (images,) each; None where there are none."""
        if not self._batches:
            return None
        losses, hits = (torch.cat(parts).cpu() for parts in zip(*self._batches, strict=True))
        return losses, hits

    def take_up(self, state: tuple[Tensor, Tensor] | None, device: torch.device) -> None:
        """Go on from there."""
        if state is not None:
            self._batches.append((state[0].to(device), state[1].to(device)))

    def compute(self) -> dict[str, Tensor]:
        """The epoch's "loss" and "accuracy" as float64, starting afresh; no number where there was no batch."""
        own = self.state()
        sums = (float(own[0].double().sum()), float(own[1].double().sum()), len(own[0])) if own else (0.0, 0.0, 0)
        self._batches = []
        losses, hits, count = map(sum, zip(*ranks.gathered([sums]), strict=True))
        values = {"loss": losses, "accuracy": hits}
        return {
            name: torch.tensor(value / count if count else math.nan, dtype=torch.float64)
            for name, value in values.items()
        }
