"""Run batches once through a frozen network into one tensor."""

from collections.abc import Callable, Iterable
from contextlib import nullcontext
from tempfile import TemporaryFile

import numpy as np
import torch
from torch import Tensor

from headstart.errors import HeadstartError
from headstart.features.rows import OnDisk
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

    ``network`` maps inputs and the stage that they enter to features (N, D). If the loader reads cached vectors from
    disk, as memory does not hold them, the result on a CPU is the memory map of a temporary file beside them. Raises
    HeadstartError for features that are not finite.
    """
    rows = getattr(batches, "rows", None)
    folder = None
    if isinstance(rows, OnDisk) and len(rows.parts[0].shape) == 1 and device.type == "cpu":
        folder = rows.parts[0].path.parent
    values, targets, finite = [], [], torch.ones((), dtype=torch.bool, device=device)
    with TemporaryFile(dir=folder) if folder is not None else nullcontext() as file:
        for batch in counted_batches(batches, what):
            found = at_least_single(network(batch.inputs.to(device, non_blocking=True), batch.entry))
            finite &= found.isfinite().all()  # read once after the loop, as a GPU would have to wait for each batch
            if file is not None:
                file.write(found.cpu().contiguous().numpy().data)
                found = found[:0].clone()  # a view would keep the values
            values.append(found)
            targets.append(batch.targets.to(device))
        if not finite:
            raise HeadstartError(
                f"{what}: the network gives NaN or infinite values for some images; check its weights, or use"
                " trainer.precision=32-true."
            )
        # A copy made outside inference mode may take part in autograd.
        with torch.inference_mode(False):
            whole = torch.cat(values)
            if file is not None:
                file.flush()
                shape = (sum(map(len, targets)), *whole.shape[1:])
                whole = torch.from_numpy(np.memmap(file, whole.cpu().numpy().dtype, "c", shape=shape))
            return Features(whole, torch.cat(targets))
