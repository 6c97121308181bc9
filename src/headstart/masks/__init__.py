"""Data sets of images with a label image (mask) each: where masks lie, and what their values mean."""

from headstart.masks.image_mask import ImageMask

__all__ = ["ImageMask"]
