"""Set the mode of each layer: training or evaluation, and which statistics batch norm uses."""

from collections.abc import Collection, Iterable, Mapping, Sequence
from typing import Any

import torch
from torch import nn
from torch.nn.modules.batchnorm import _BatchNorm

from headstart.errors import ConfigError
from headstart.settings.leaf_table import check_setting

PASS = 64  # images per pass that estimates statistics: fewer give noise, and more take memory
NORMS = (
    _BatchNorm,
    nn.LayerNorm,
    nn.GroupNorm,
    nn.LocalResponseNorm,
    nn.modules.instancenorm._InstanceNorm,
)


def batch_norms(module: nn.Module) -> list[_BatchNorm]:
    """Return the batch-norm layers of a module."""
    return [part for part in module.modules() if isinstance(part, _BatchNorm)]


def is_norm(module: nn.Module) -> bool:
    """Return whether a module is a normalisation layer, including timm's and torchvision's own."""
    return isinstance(module, NORMS) or "Norm" in type(module).__name__


def check_mode(mode: str, network: nn.Module, name: str) -> None:
    """Raise ConfigError if a mode does not exist, or the network has no batch norm to which it applies."""
    check_setting("strategy.batch_norm", mode)
    if mode not in ("auto", "frozen") and not batch_norms(network):
        raise ConfigError(f"strategy.batch_norm={mode}: {name} has no batch norm; leave it at auto.")


def set_statistics(layers: Iterable[_BatchNorm], mode: str, training: bool) -> None:
    """Put batch-norm layers into a mode, for training or for evaluation.

    frozen and adapt: use stored statistics, which do not change. update: in training, use those of the batch and update
    the stored ones; in evaluation, use the stored ones. batch: always use those of the batch, and change nothing.
    """
    for layer in layers:
        layer.train(mode == "batch" or (mode == "update" and training))
        layer.track_running_stats = mode != "batch"


@torch.no_grad()
def estimate_statistics(network: nn.Module, layers: Sequence[_BatchNorm], batches: Iterable[tuple[Any, ...]]) -> None:
    """Set the statistics of these layers to their averages over batches (AdaBN, arXiv:1603.04779).

    Each batch holds the arguments of the network. The result depends on the batch size, as each layer normalises by
    the statistics of the current batch. All other layers stay in eval mode, unlike in torch's ``update_bn``, which
    applies dropout. Afterwards the whole network is in eval mode.
    """
    network.eval()
    momenta = [layer.momentum for layer in layers]
    for layer in layers:
        layer.track_running_stats = True
        layer.reset_running_stats()
        layer.momentum = None  # a plain average over batches
        layer.train()
    for batch in batches if layers else ():
        network(*batch)
    for layer, momentum in zip(layers, momenta, strict=True):
        layer.momentum = momentum
        layer.eval()


def set_modes(stages: nn.ModuleDict, resting: Collection[str], statistics: Mapping[str, str], training: bool) -> None:
    """Put ``resting`` stages into eval mode, and the batch norm of each stage into its own mode.

    ``statistics`` maps a stage to the mode of its batch norm. ``training`` is the mode of all other layers.
    """
    for name in resting:
        stages[name].eval()
    for name, mode in statistics.items():
        set_statistics(batch_norms(stages[name]), mode, training)
