"""Keep one copy of the output of ReLU6 for the backward pass, instead of two."""

from typing import Any

import torch
from torch import Tensor, nn


class ReLU6(nn.ReLU6):
    """``nn.ReLU6(inplace=True)`` that saves its result, which the next layer saves as well.

    PyTorch's own saves a copy of the input: its formula for the gradient reads the input. The result tells as much, so
    gradients are equal bit for bit. Nothing changes without gradients, nor in traced, compiled or exported networks.
    """

    def forward(self, x: Tensor) -> Tensor:
        """Return ``x`` limited to 0 to 6."""
        traced = torch.jit.is_tracing() or torch.compiler.is_compiling()  # type: ignore[no-untyped-call]
        if traced or not (torch.is_grad_enabled() and x.requires_grad and not x.is_leaf):
            return super().forward(x)
        return _Limited.apply(x)  # type: ignore[no-any-return, no-untyped-call]


class _Limited(torch.autograd.Function):
    @staticmethod
    def forward(ctx: Any, x: Tensor) -> Tensor:
        result = x.clamp_(0, 6)
        ctx.mark_dirty(result)
        ctx.save_for_backward(result)
        return result

    @staticmethod
    def backward(ctx: Any, *gradients: Tensor) -> Tensor:
        (result,) = ctx.saved_tensors
        return torch.ops.aten.hardtanh_backward(gradients[0], result, 0.0, 6.0)  # type: ignore[no-any-return]


def save_once(network: nn.Module) -> None:
    """Let every ReLU6 of a network that works in place save one copy for the backward pass."""
    for module in network.modules():
        if type(module) is nn.ReLU6 and module.inplace:
            module.__class__ = ReLU6
