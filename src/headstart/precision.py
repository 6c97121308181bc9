"""Convert values to the precision of losses and probabilities."""

import torch
from torch import Tensor


def at_least_single(x: Tensor) -> Tensor:
    """Return half-precision values as float32 and wider ones unchanged, because sums in 8 or 11 bits are wrong."""
    return x.to(torch.promote_types(x.dtype, torch.float32))
