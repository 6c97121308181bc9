"""One pass of batches through a frozen network into one tensor."""

from collections.abc import Callable, Iterable
from dataclasses import dataclass

import torch
from torch import Tensor

from headstart.precision import at_least_single
from headstart.progress import counted_batches


@dataclass(frozen=True)
class Features:
    """What a frozen backbone says about a split."""

    values: Tensor  # float32, or float64 of a network in float64, (N, D), on the device
    targets: Tensor  # int64 (N,), on the device


@torch.inference_mode()
def extract(
    network: Callable[[Tensor], Tensor],
    batches: Iterable[tuple[Tensor, Tensor, Tensor]],
    device: torch.device,
    what: str = "features",
) -> Features:
    """Features of every picture, in the loader's order; ``network`` maps what the loader gives to (N, D)."""
    values, targets = [], []
    for inputs, labels, _ in counted_batches(batches, what):
        values.append(at_least_single(network(inputs.to(device, non_blocking=True))))
        targets.append(labels.to(device))
    # A copy made outside inference mode may take part in autograd.
    with torch.inference_mode(False):
        return Features(torch.cat(values).clone(), torch.cat(targets).clone())
