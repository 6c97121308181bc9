"""headstart: transfer-learning experiments on images, one strategy knob over one harness."""

__version__ = "0.1.0"
