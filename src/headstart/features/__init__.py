"""Features of a network's frozen part: computed once, fast, and cached."""

from headstart.features.settings import FeatureSettings

__all__ = ["FeatureSettings"]
