"""Features of a frozen backbone, computed once."""

from headstart.features.extract import Features, extract

__all__ = ["Features", "extract"]
