"""Run batches once through a frozen network into one tensor."""

from collections.abc import Callable, Iterable

import torch
from torch import Tensor

from headstart.inputs.batch import Batch
from headstart.precision import at_least_single
from headstart.progress import counted_batches
from headstart.solvers.features import Features


@torch.inference_mode()
def extract(
    network: Callable[[Tensor, int], Tensor],
    batches: Iterable[Batch],
    device: torch.device,
    what: str = "features",
) -> Features:
    """Return the features of every image, in the loader's order.

    ``network`` maps inputs and the stage that they enter to features (N, D).
    """
    values, targets = [], []
    for batch in counted_batches(batches, what):
        values.append(at_least_single(network(batch.inputs.to(device, non_blocking=True), batch.entry)))
        targets.append(batch.targets.to(device))
    # A copy made outside inference mode may take part in autograd.
    with torch.inference_mode(False):
        return Features(torch.cat(values).clone(), torch.cat(targets).clone())
