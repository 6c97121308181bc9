"""Hold the features of a split and its targets."""

from dataclasses import dataclass

from torch import Tensor


@dataclass(frozen=True)
class Features:
    """The output of a frozen backbone for a split."""

    values: Tensor  # float32, or float64 of a network in float64, (N, D), on the device
    targets: Tensor  # int64 (N,), on the device
