"""Compute the features of a network's frozen part once, fast, and cache them."""

from headstart.features.settings import FeatureSettings

__all__ = ["FeatureSettings"]
