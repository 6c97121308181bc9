"""Learn weights from images: objectives, and the strategy that trains a network by one of them."""

from headstart.pretraining.autoencoder import Autoencoder
from headstart.pretraining.contrast import Contrast
from headstart.pretraining.relative_patches import RelativePatches
from headstart.pretraining.strategy import Pretraining

__all__ = ["Autoencoder", "Contrast", "Pretraining", "RelativePatches"]
