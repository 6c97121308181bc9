"""Robustness to common corruptions: corrupted images, the same for every run, and what networks say of them."""

from headstart.robustness.corruptions import content_of, corrupt
from headstart.robustness.severities import NAMES, SEVERITIES, severities_for

__all__ = ["NAMES", "SEVERITIES", "content_of", "corrupt", "severities_for"]
