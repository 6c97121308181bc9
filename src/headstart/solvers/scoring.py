"""Score the predictions of a classifier."""

from torch import Tensor
from torch.nn import functional as F


def score_classes(logits: Tensor, targets: Tensor) -> dict[str, float]:
    """Return the mean cross-entropy in nats and the accuracy, both counted in float64.

    ``logits`` is (N, classes), ``targets`` (N,). On equal logits the first class is predicted, as in predictions.csv.
    """
    logits, targets = logits.cpu().double(), targets.cpu()
    hits = int((logits.argmax(dim=1) == targets).sum())
    return {"loss": float(F.cross_entropy(logits, targets)), "accuracy": hits / len(targets)}
