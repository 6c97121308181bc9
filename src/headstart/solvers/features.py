"""Hold the features and the targets of a split."""

from dataclasses import dataclass

import torch
from torch import Tensor


@dataclass(frozen=True)
class Features:
    """The features of the images of a split, from a frozen backbone, and their targets."""

    values: Tensor  # (N, D), float32, or float64 if the network is in float64, on the device
    targets: Tensor  # (N, ...) in the format of the task, on the device


def joined(*splits: Features) -> Features:
    """Return the features of several splits, one after the other."""
    return Features(torch.cat([split.values for split in splits]), torch.cat([split.targets for split in splits]))


def where_double(split: Features) -> Features:
    """Return the features on their device, or on the CPU if the device does not support float64."""
    return Features(split.values.cpu(), split.targets.cpu()) if split.values.device.type == "mps" else split


def in_double(split: Features) -> Features:
    """Return the features in float64; on the CPU if the device does not support float64."""
    split = where_double(split)
    return Features(split.values.double(), split.targets)
