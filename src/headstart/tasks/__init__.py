"""Head, loss and metrics of the target task."""

from headstart.tasks.classification import Classification, EpochScores
from headstart.tasks.heads import CosineHead, LinearHead, MlpHead

__all__ = ["Classification", "CosineHead", "EpochScores", "LinearHead", "MlpHead"]
