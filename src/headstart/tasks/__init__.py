"""Head, loss and metrics of the target task."""

from headstart.tasks.classification import Classification, Scores
from headstart.tasks.heads import CosineHead, LinearHead, MlpHead

__all__ = ["Classification", "CosineHead", "LinearHead", "MlpHead", "Scores"]
