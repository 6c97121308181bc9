"""The mode of each layer: training or evaluation, and which statistics batch norm uses."""

from collections.abc import Collection, Iterable, Mapping, Sequence
from typing import Any

import torch
from torch import nn
from torch.nn.modules.batchnorm import _BatchNorm

from headstart.errors import ConfigError
from headstart.settings.leaf_table import check_setting

PASS = 64  # images of a pass that estimates statistics: those of a few images are noise, and more take memory
NORMS = (
    _BatchNorm,
    nn.LayerNorm,
    nn.GroupNorm,
    nn.LocalResponseNorm,
    nn.modules.instancenorm._InstanceNorm,
)


def batch_norms(module: nn.Module) -> list[_BatchNorm]:
    """The batch-norm layers inside."""
    return [part for part in module.modules() if isinstance(part, _BatchNorm)]


def is_norm(module: nn.Module) -> bool:
    """Whether it is a normalisation of any kind, timm's and torchvision's own included."""
    return isinstance(module, NORMS) or "Norm" in type(module).__name__


def check_mode(mode: str, network: nn.Module, name: str) -> None:
    """Raise ConfigError for a mode that does not exist, or that means nothing to this network."""
    check_setting("strategy.batch_norm", mode)
    if mode not in ("auto", "frozen") and not batch_norms(network):
        raise ConfigError(f"strategy.batch_norm={mode}: {name} has no batch norm; leave it at auto.")


def set_statistics(layers: Iterable[_BatchNorm], mode: str, training: bool) -> None:
    """Put batch-norm layers into a mode, for training or for evaluation.

    frozen and adapt: stored statistics, which do not move. update: in training those of the batch, and the stored ones
    follow; in evaluation the stored ones. batch: those of the batch, always, and nothing moves.
    """
    for layer in layers:
        layer.train(mode == "batch" or (mode == "update" and training))
        layer.track_running_stats = mode != "batch"


@torch.no_grad()
def estimate_statistics(network: nn.Module, layers: Sequence[_BatchNorm], batches: Iterable[tuple[Any, ...]]) -> None:
    """Put into these layers the averages over batches, the arguments of the network (AdaBN, arXiv:1603.04779).

    The result depends on the size of the batches, as every layer normalises by those of its own batch meanwhile.
    All else is in eval mode meanwhile, and everything afterwards: torch's ``update_bn`` would train with dropout.
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

    ``statistics`` gives that mode by stage. ``training`` is the mode of everything else.
    """
    for name in resting:
        stages[name].eval()
    for name, mode in statistics.items():
        set_statistics(batch_norms(stages[name]), mode, training)
