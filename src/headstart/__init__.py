"""headstart: transfer-learning experiments on pictures, one strategy knob over one harness."""

__version__ = "0.1.0"
