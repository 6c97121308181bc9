"""Predict a class for each pixel: cross-entropy and dice loss over pixels with a class, mean IoU."""

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
from headstart.solvers.overlaps import mean_iou, tallies_of
from headstart.solvers.probe import OnRow, Probe, ignore
from headstart.solvers.probe_fit import STRENGTHS, balanced_weights
from headstart.tasks.dense_heads import dense_head
from headstart.tasks.heads import LinearHead
from headstart.tasks.pixel_probe import fit_pixels

IGNORED = -1


class Segmentation:
    """A class for each pixel; a pixel with -1 in the targets has no class.

    Outputs are logits (N, C, S, S); targets are (N, S, S), or (N, C, S, S) for mixed images, where pixels without a
    class have zeros. ``dice`` is the weight of the dice loss (Milletari et al. 2016, arXiv:1606.04797) in training.
    ``class_weights``, (C,) with mean 1 over training pixels, weigh only the training cross-entropy.
    """

    kind = "segmentation"
    primary = KINDS[kind].primary.name
    higher_is_better = KINDS[kind].primary.higher_is_better
    by_pixel = linear = True

    def __init__(
        self,
        num_classes: int,
        dice: float = 0.0,
        head: LinearHead | None = None,
        class_weights: Sequence[float] | None = None,
    ) -> None:
        check_parameters("task", locals())
        self.num_classes = self.width = num_classes
        self.dice = dice
        self.head: LinearHead = dense_head(head, self.kind)
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

    def make_head(self, feature_dim: int, seed: int) -> nn.Module:
        """Return new output layers, from rows of maps (N, D) to logits (N, C, S, S); only the seed determines them."""
        return self.head.make(feature_dim, self.width, seed)

    def soft(self, targets: Tensor) -> Tensor:
        """Return label images (N, S, S) as one-hot floats (N, C, S, S); zeros for pixels without a class."""
        one_hot = F.one_hot(targets.clamp(min=0), self.num_classes).permute(0, 3, 1, 2)
        return (one_hot * (targets >= 0)[:, None]).to(torch.float32)

    def has_target(self, targets: Tensor) -> Tensor:
        """Return which pixels of label images have a class, boolean of the shape of ``targets``."""
        return targets >= 0

    def loss(self, outputs: Tensor, targets: Tensor, training: bool = False) -> Tensor:
        """Return the mean cross-entropy in nats over pixels with a class, in float32 or wider; 0 if there is none.

        Only in ``training``, classes are weighted and ``dice`` times the dice loss is added.
        """
        logits = at_least_single(outputs)
        weights = self.class_weights.to(logits) if training and self.class_weights is not None else None
        if targets.is_floating_point():
            targets = targets.to(logits.dtype)
            total = F.cross_entropy(logits, targets, weight=weights, reduction="sum")
            count = targets.sum()
        else:
            total = F.cross_entropy(logits, targets, weight=weights, ignore_index=IGNORED, reduction="sum")
            count = (targets >= 0).sum()
        loss = total / count.clamp(min=1)
        return loss + self.dice * self._dice(logits, targets) if training and self.dice else loss

    def _dice(self, logits: Tensor, targets: Tensor) -> Tensor:
        """Return the dice loss, 1 - mean over classes of the dice coefficient of all pixels of a batch: 0 to 1."""
        soft = targets if targets.is_floating_point() else self.soft(targets).to(logits.dtype)
        shares = logits.softmax(dim=1) * soft.sum(dim=1, keepdim=True)
        both, sizes = (pixels.sum(dim=(0, 2, 3)) for pixels in (shares * soft, shares + soft))
        present = soft.sum(dim=(0, 2, 3)) > 0
        return 1 - (2 * both / sizes.clamp(min=1e-6))[present].sum() / present.sum().clamp(min=1)

    def tally(self, outputs: Tensor, targets: Tensor) -> Tensor:
        """Return the tally of each image, (N, 3 C), see ``overlaps``; mixed pixels count with their shares."""
        predicted = outputs.argmax(dim=1)
        if targets.is_floating_point():
            found = F.one_hot(predicted, self.num_classes).permute(0, 3, 1, 2).to(targets.dtype)
            found = found * targets.sum(dim=1, keepdim=True)
            overlap = torch.minimum(found, targets)
            return torch.cat([pixels.sum(dim=(2, 3)) for pixels in (overlap, found, targets)], dim=1)
        classes, count = self.num_classes, len(targets)
        offsets = classes * torch.arange(count, device=targets.device)[:, None, None]
        valid, right = targets >= 0, predicted == targets
        pairs = ((targets, right), (predicted, valid), (targets, valid))
        parts = [(offsets + labels)[where] for labels, where in pairs]
        return torch.cat([part.bincount(minlength=count * classes).view(count, classes) for part in parts], dim=1)

    def primary_of(self, tallies: Tensor) -> float:
        """Return the mean IoU, from the tallies (N, 3 C)."""
        return mean_iou(tallies.cpu().double().numpy())

    def score(self, outputs: Tensor, targets: Tensor) -> dict[str, float]:
        """Return loss and mean IoU of logits, computed in float64."""
        outputs, targets = outputs.detach().cpu().double(), targets.cpu()
        return {"loss": float(self.loss(outputs, targets)), self.primary: self.primary_of(self.tally(outputs, targets))}

    def kept(self, outputs: Tensor) -> Tensor:
        """Return the label images to keep until the end of a run, (N, S, S), one or two bytes per pixel."""
        return outputs.argmax(dim=1).to(torch.uint8 if self.num_classes <= 256 else torch.int16)

    def score_kept(self, kept: Tensor, targets: Any) -> dict[str, float]:
        """Return the mean IoU of kept label images (N, S, S), against targets that are read by index; no loss."""
        return {self.primary: mean_iou(tallies_of(kept.numpy(), targets, self.num_classes))}

    def start_head(self, head: nn.Module, features: Features) -> None:
        """Do nothing, as no ``head.init`` of this task needs features."""

    def regress_on(self, targets: Tensor) -> Tensor:
        """Return the classes of P pixels, (P,), as one-hot float64 (P, C)."""
        return F.one_hot(targets, self.num_classes).double()

    def best_scale(self, outputs: Matrix, targets: Tensor) -> float:
        """Return the factor for the outputs of P pixels, (P, C), that gives the lowest cross-entropy."""
        return centroids.best_scale(outputs, targets)

    def weights_of(self, targets: Tensor) -> Tensor | None:
        """Return the weight of each pixel in a solved fit, (P,) with mean 1; None if all weights are equal."""
        return balanced_weights(targets, self.num_classes) if self.balanced else None

    def fit_probe(
        self,
        train: Features,
        validation: Features,
        strengths: Sequence[float] | None = None,
        on_row: OnRow = ignore,
        loss: str = "logistic",
        head: nn.Module | None = None,
    ) -> Probe:
        """Return a linear head on joined maps, with the L2 strength that is best on validation.

        ``loss`` is "logistic", "hinge" or "ridge". ``head`` is used to compute outputs; its weights change. None makes
        a new one.
        """
        head = head or self.make_head(train.values.shape[1], 0).to(train.values.device)
        return fit_pixels(self, head, train, validation, strengths or STRENGTHS, on_row, loss)
