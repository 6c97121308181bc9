"""The features of a split and its targets."""

from dataclasses import dataclass

import torch
from torch import Tensor


@dataclass(frozen=True)
class Features:
    """What a frozen backbone gives for the images of a split."""

    values: Tensor  # float32, or float64 of a network in float64, (N, D), on the device
    targets: Tensor  # (N,) as the task has them, on the device


def joined(*splits: Features) -> Features:
    """Return the features of several splits, one after the other."""
    return Features(torch.cat([split.values for split in splits]), torch.cat([split.targets for split in splits]))


def in_double(split: Features) -> Features:
    """Return the features in float64; on the CPU where the device has no such numbers."""
    if split.values.device.type == "mps":
        return Features(split.values.cpu().double(), split.targets.cpu())
    return Features(split.values.double(), split.targets)
