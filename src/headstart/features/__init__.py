"""Features of the frozen part of a network: computed once, fast, and kept."""

from headstart.features.settings import FeatureSettings

__all__ = ["FeatureSettings"]
