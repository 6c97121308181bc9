"""Check that frozen tensors do not change, bit for bit."""

from collections.abc import Mapping

import torch
from torch import Tensor

from headstart.devices.shares import local


class FrozenCheck:
    """Copies of the frozen tensors from the start of a fit."""

    def __init__(self) -> None:
        self._start: dict[str, Tensor] = {}

    def remember(self, tensors: Mapping[str, Tensor]) -> None:
        """Copy these tensors."""
        self._start = {name: local(tensor).clone() for name, tensor in tensors.items()}

    def check(self, tensors: Mapping[str, Tensor]) -> None:
        """Raise RuntimeError if a tensor differs from its copy."""
        for name, tensor in tensors.items():
            if not torch.equal(local(tensor), self._start[name]):
                raise RuntimeError(f"The frozen tensor {name} has changed during training.")
