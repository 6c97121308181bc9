"""Head, loss and metrics of the target task."""

from headstart.tasks.classification import Classification, Scores

__all__ = ["Classification", "Scores"]
