"""Learn embeddings that are similar for two crops of an image.

``method=simclr`` also makes those of different images different (Chen et al. 2020, arXiv:2002.05709). ``vicreg`` has
no such negatives: it keeps the deviation of each coordinate up and the covariance of coordinates down (Bardes et al.
2021, arXiv:2105.04906).

Command: headstart pretrain objective=contrast
Fails: with few images or small batches, and where the cropped parts of an image show different things.
"""

import torch
from torch import Tensor, nn
from torch.nn import functional as F

from headstart import ranks
from headstart.precision import at_least_single
from headstart.pretraining.monitor import EmbeddingMonitor
from headstart.pretraining.objective import Draws, Objective, Readout, answered
from headstart.settings.leaf_table import check_parameters
from headstart.tasks.heads import LinearHead

SIMILARITY, DEVIATION, COVARIANCE = 25.0, 25.0, 1.0  # weights of the three terms of VICReg, as in the paper
LEAST_VARIANCE = 1e-4


def simclr_loss(pairs: Tensor, temperature: float) -> Tensor:
    """Return the normalised cross-entropy of embeddings (N, 2, K): each view should find the other among 2N - 1.

    This is NT-Xent (arXiv:2002.05709, equation 1).
    """
    views = F.normalize(pairs.transpose(0, 1).flatten(0, 1), dim=1)
    count = len(pairs)
    logits = (views @ views.T / temperature).fill_diagonal_(float("-inf"))
    partners = torch.arange(2 * count, device=pairs.device).roll(count)
    return F.cross_entropy(logits, partners)


def vicreg_loss(pairs: Tensor) -> Tensor:
    """Return the loss of VICReg of embeddings (N, 2, K), N at least 2 (arXiv:2105.04906, equation 6, and its code).

    The terms of deviation and covariance are those of both views: the mean for the first, the sum for the second.
    """
    one, other = pairs.unbind(dim=1)
    spread = covariance = pairs.new_zeros(())
    for view in (one, other):
        centred = view - view.mean(dim=0)
        deviation = (centred.square().sum(dim=0) / (len(view) - 1) + LEAST_VARIANCE).sqrt()
        spread = spread + F.relu(1 - deviation).mean() / 2
        matrix = centred.T @ centred / (len(view) - 1)
        covariance = covariance + (matrix.square().sum() - matrix.diagonal().square().sum()) / view.shape[1]
    return SIMILARITY * F.mse_loss(one, other) + DEVIATION * spread + COVARIANCE * covariance


class Projector(nn.Module):
    """Map features of two views (N, 2, D) to embeddings (N, 2, K), through a hidden layer unless ``hidden`` is 0."""

    def __init__(self, feature_dim: int, hidden: int, embedding: int) -> None:
        super().__init__()
        below = [nn.Linear(feature_dim, hidden, bias=False), nn.BatchNorm1d(hidden), nn.ReLU()] if hidden else []
        self.layers = nn.Sequential(*below, nn.Linear(hidden or feature_dim, embedding))

    def forward(self, features: Tensor) -> Tensor:
        """Return embeddings (N, 2, K) of features (N, 2, D)."""
        embeddings: Tensor = self.layers(features.flatten(0, 1))
        return embeddings.unflatten(0, (len(features), -1))


class Contrast(Objective):
    """Embeddings (N, 2, K) of two views of each image.

    The primary metric is the share of images whose first view finds its other view among all views of the batch, by
    the cosine. It depends on the batch size.
    """

    kind = "contrast"
    copies = 2

    def __init__(
        self,
        method: str = "simclr",
        temperature: float = 0.5,
        hidden: int = 512,
        embedding: int = 128,
        head: LinearHead | None = None,
    ) -> None:
        check_parameters("task", locals())
        super().__init__(head, Readout("projector"))
        self.method, self.temperature, self.hidden, self.embedding = method, temperature, hidden, embedding

    def layers(self, feature_dim: int) -> nn.Module:
        """Return the projector, which only pretraining uses."""
        return Projector(feature_dim, self.hidden, self.embedding)

    def pose(self, images: Tensor, draws: Draws) -> tuple[Tensor, Tensor]:
        """Return the views of each image (N, 2, C, S, S), and the numbers of the images, which have no effect."""
        pairs = images.unflatten(0, (self.copies, -1)).transpose(0, 1)
        return pairs, torch.arange(len(pairs), device=images.device)

    def loss(self, outputs: Tensor, targets: Tensor, training: bool = False) -> Tensor:
        """Return the loss of the method over the images of all processes.

        Its gradient is multiplied so that the gradient of the whole batch remains once a process weighs its loss by its
        share of the images, and the trainer averages the processes.
        """
        pairs, _ = ranks.all_rows(at_least_single(outputs))
        with torch.autocast(pairs.device.type, enabled=False):
            loss = simclr_loss(pairs, self.temperature) if self.method == "simclr" else vicreg_loss(pairs)
        if len(pairs) == len(outputs):
            return loss
        return loss.detach() + (loss - loss.detach()) * (len(pairs) / len(outputs))

    @torch.no_grad()
    def tally(self, outputs: Tensor, targets: Tensor) -> Tensor:
        """Return rows (N, 3) of two logits and 1: of a first view's nearest other image, and of its other view.

        Logits are cosines, divided by the temperature of simclr. The right answer is always number 1, so that equal
        logits, as after a collapse, count as wrong.
        """
        pairs, first = ranks.all_rows(at_least_single(outputs))
        views = F.normalize(pairs.transpose(0, 1).flatten(0, 1), dim=1)
        cosines = views[first : first + len(outputs)] @ views.T
        own = torch.arange(len(outputs), device=cosines.device)
        partner = cosines[own, own + first + len(pairs)]
        cosines[own, own + first] = cosines[own, own + first + len(pairs)] = -1
        logits = torch.stack([cosines.amax(dim=1), partner], dim=1)
        logits = logits / self.temperature if self.method == "simclr" else logits
        return torch.cat([logits, torch.ones_like(partner)[:, None]], dim=1)

    def primary_of(self, tallies: Tensor) -> float:
        """Return the share of first views that are nearer to their other view than to any other image."""
        return answered(tallies)

    def make_monitor(self) -> EmbeddingMonitor:
        """Return what watches for a collapse, and probes the features."""
        return EmbeddingMonitor()
