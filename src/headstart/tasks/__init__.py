"""Define tasks: head, loss and metrics for each kind of target."""

from headstart.tasks.classification import Classification
from headstart.tasks.dense_heads import DenseHead, UpconvHead
from headstart.tasks.dense_regression import DenseRegression
from headstart.tasks.heads import CosineHead, LinearHead, MlpHead
from headstart.tasks.multilabel import Multilabel
from headstart.tasks.regression import Regression
from headstart.tasks.scores import EpochScores
from headstart.tasks.segmentation import Segmentation
from headstart.tasks.several import Several
from headstart.tasks.task import Task

__all__ = [
    "Classification",
    "CosineHead",
    "DenseHead",
    "DenseRegression",
    "EpochScores",
    "LinearHead",
    "MlpHead",
    "Multilabel",
    "Regression",
    "Segmentation",
    "Several",
    "Task",
    "UpconvHead",
]
