"""Add small bottlenecks after the blocks of a network, and find these blocks."""

from collections.abc import Iterator
from typing import Any

from torch import Tensor, fx, nn

from headstart.backbones.readout import channels_last_dim


class Adapter(nn.Module):
    """A residual bottleneck for outputs of the given shape.

    Convolutions for (N, C, H, W); linear on the last axis for (N, T, C), (N, C), and (N, H, W, C) of a square image.
    """

    def __init__(self, shape: tuple[int, ...], reduction: int) -> None:
        super().__init__()
        is_map = len(shape) == 4 and not channels_last_dim(shape[1:])
        width = shape[1] if is_map else shape[-1]
        narrow = max(1, width // reduction)
        self.down = nn.Conv2d(width, narrow, 1) if is_map else nn.Linear(width, narrow)
        self.act = nn.GELU()
        self.up = nn.Conv2d(narrow, width, 1) if is_map else nn.Linear(narrow, width)
        nn.init.zeros_(self.up.weight)
        nn.init.zeros_(self.up.bias)  # type: ignore[arg-type]

    def forward(self, x: Tensor) -> Tensor:
        """Return ``x`` plus its correction, in the same shape."""
        return x + self.up(self.act(self.down(x)))


class AdaptedBlock(nn.Module):
    """A block followed by its adapter."""

    def __init__(self, block: nn.Module, adapter: Adapter) -> None:
        super().__init__()
        self.block, self.adapter = block, adapter

    def forward(self, *args: Any, **kwargs: Any) -> Tensor:
        """Return the adapted output of the block, from the arguments of the block."""
        return self.adapter(self.block(*args, **kwargs))


def blocks_of(stage: nn.Module, name: str) -> list[str]:
    """Return the dotted names of the blocks of a stage."""
    if isinstance(stage, fx.GraphModule):
        targets = dict.fromkeys(str(node.target) for node in stage.graph.nodes if node.op == "call_module")
        return [f"{name}.{target}" for target in targets if _is_block(stage.get_submodule(target))]
    return list(_blocks_below(stage, name))


def _blocks_below(module: nn.Module, name: str) -> Iterator[str]:
    for key, child in module.named_children():
        inner = list(_blocks_below(child, f"{name}.{key}")) if type(child) is nn.Sequential else []
        if inner:
            yield from inner
        elif _is_block(child):
            yield f"{name}.{key}"


def _is_block(module: nn.Module) -> bool:
    return any(True for child in module.children() for _ in child.parameters())
