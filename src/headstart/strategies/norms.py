"""Which statistics batch norm uses: stored, moving, re-estimated, or those of the batch."""

from collections.abc import Iterable

from torch import Tensor, nn
from torch.nn.modules.batchnorm import _BatchNorm
from torch.optim.swa_utils import update_bn

from headstart.errors import ConfigError, nearest

MODES = ("auto", "frozen", "update", "adapt", "batch")
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
    if mode not in MODES:
        raise ConfigError(f"strategy.batch_norm={mode}: there is no such mode.{nearest(mode, MODES)}")
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


def adapt_statistics(network: nn.Module, batches: Iterable[Tensor]) -> None:
    """Estimate all stored statistics anew, as averages over these normalised pictures (AdaBN, arXiv:1603.04779)."""
    layers = batch_norms(network)
    for layer in layers:
        layer.track_running_stats = True
    other = {part: part.training for part in network.modules()}
    update_bn(_without_noise(network, batches), network)
    for part, mode in other.items():
        part.training = mode


def _without_noise(network: nn.Module, batches: Iterable[Tensor]) -> Iterable[Tensor]:
    """``update_bn`` has put everything into train mode by now: only batch norm should be in it."""
    for number, batch in enumerate(batches):
        if number == 0:
            network.eval()
            for layer in batch_norms(network):
                layer.train()
        yield batch
