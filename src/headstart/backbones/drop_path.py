"""Stochastic depth: in training, residual branches are dropped at random for each image.

The rate rises linearly from the lowest block to the highest (Huang et al. 2016, arXiv:1603.09382, eq. 4). A few of
timm's networks use the same rate throughout, as in their papers. Frozen stages are in eval mode and drop nothing.
"""

from torch import nn
from torchvision.ops import StochasticDepth

from headstart.errors import ConfigError

LIBRARY_RATES = {"efficientnet_b0": 0.2, "convnext_tiny": 0.1, "swin_t": 0.2}  # torchvision's built-in rates


def no_drop_path(rate: float, name: str) -> ConfigError:
    """Return the error for a network without stochastic depth."""
    return ConfigError(f"backbone.drop_path={rate:g}: {name} has no branches that can be dropped; set it to 0 or null.")


def set_torchvision_rate(network: nn.Module, name: str, rate: float | None) -> None:
    """Scale torchvision's own rates in place so that the highest is ``rate``; 0 turns it off."""
    if rate is None:
        return
    layers = [layer for layer in network.modules() if isinstance(layer, StochasticDepth)]
    if rate > 0 and not layers:
        raise no_drop_path(rate, name)
    for layer in layers:
        layer.p *= rate / LIBRARY_RATES[name]


def settle_timm_rate(network: nn.Module, name: str, rate: float | None) -> None:
    """Make sure, in place, that a network built with this rate follows it.

    Some timm networks have a default rate, which 0 must turn off; others accept a rate and ignore it.
    """
    if rate is None:
        return
    from timm.layers import DropPath

    layers = [layer for layer in network.modules() if isinstance(layer, DropPath)]
    if rate > 0 and not any(layer.drop_prob for layer in layers):
        raise no_drop_path(rate, name)
    if rate == 0:
        for layer in layers:
            layer.drop_prob = 0.0
