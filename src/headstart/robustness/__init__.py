"""Measure robustness to common corruptions, on the same corrupted images for every run."""

from headstart.robustness.corruptions import content_of, corrupt
from headstart.robustness.severities import NAMES, SEVERITIES, severities_for

__all__ = ["NAMES", "SEVERITIES", "content_of", "corrupt", "severities_for"]
