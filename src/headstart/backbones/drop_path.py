"""Stochastic depth: in training a residual branch is left out at random, for each image anew.

The rate rises in a line from the lowest block to the highest (Huang et al. 2016, arXiv:1603.09382, eq. 4); a few of
timm's networks have the same rate throughout, as in their papers. What is frozen is in eval mode and drops nothing.
"""

from torch import nn
from torchvision.ops import StochasticDepth

from headstart.errors import ConfigError

LIBRARY_RATES = {"efficientnet_b0": 0.2, "convnext_tiny": 0.1, "swin_t": 0.2}  # those that torchvision builds in


def no_drop_path(rate: float, name: str) -> ConfigError:
    """The error for a network without stochastic depth."""
    return ConfigError(f"backbone.drop_path={rate:g}: {name} has no branches that can be dropped; leave it at 0.")


def set_torchvision_rate(network: nn.Module, name: str, rate: float | None) -> None:
    """Scale torchvision's own rates, so that the highest is ``rate``, and 0 turns it off; in place."""
    if rate is None:
        return
    layers = [layer for layer in network.modules() if isinstance(layer, StochasticDepth)]
    if rate > 0 and not layers:
        raise no_drop_path(rate, name)
    for layer in layers:
        layer.p *= rate / LIBRARY_RATES[name]


def settle_timm_rate(network: nn.Module, name: str, rate: float | None) -> None:
    """Hold a network that was built with this rate to it; in place.

    Some networks have a rate of their own where none is asked for, and some take one and do nothing with it.
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
