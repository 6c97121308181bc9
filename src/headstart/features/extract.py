"""Run batches once through a frozen network into one tensor."""

from collections.abc import Callable, Iterable

import torch
from torch import Tensor

from headstart.precision import at_least_single
from headstart.progress import counted_batches
from headstart.solvers.features import Features


@torch.inference_mode()
def extract(
    network: Callable[[Tensor], Tensor],
    batches: Iterable[tuple[Tensor, Tensor, Tensor]],
    device: torch.device,
    what: str = "features",
) -> Features:
    """Return the features of all images in the loader's order; ``network`` maps inputs to (N, D)."""
    values, targets = [], []
    for inputs, labels, _ in counted_batches(batches, what):
        values.append(at_least_single(network(inputs.to(device, non_blocking=True))))
        targets.append(labels.to(device))
    # A copy made outside inference mode may take part in autograd.
    with torch.inference_mode(False):
        return Features(torch.cat(values).clone(), torch.cat(targets).clone())
