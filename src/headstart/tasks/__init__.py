"""Head, loss and metrics of the target task."""

from headstart.tasks.classification import Classification, Scores, counted
from headstart.tasks.heads import CosineHead, LinearHead, MlpHead

__all__ = ["Classification", "CosineHead", "LinearHead", "MlpHead", "Scores", "counted"]
