"""Read data sets in which each image has a mask: find the masks, and map their values to classes or numbers."""

from headstart.masks.image_mask import ImageMask

__all__ = ["ImageMask"]
