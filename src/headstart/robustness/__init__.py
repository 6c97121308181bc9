"""Robustness to common corruptions: the same corrupted images for every run, and predictions for them."""

from headstart.robustness.corruptions import content_of, corrupt
from headstart.robustness.severities import NAMES, SEVERITIES, severities_for

__all__ = ["NAMES", "SEVERITIES", "content_of", "corrupt", "severities_for"]
