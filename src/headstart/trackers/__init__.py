"""Loggers that send curves to experiment trackers: wandb, mlflow, trackio. Each loads its package at first use."""

from headstart.trackers.mlflow_curves import MlflowCurves
from headstart.trackers.trackio_curves import TrackioCurves
from headstart.trackers.wandb_curves import WandbCurves

__all__ = ["MlflowCurves", "TrackioCurves", "WandbCurves"]
