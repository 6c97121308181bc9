"""Add low-rank updates to weights, and find the weights of a network that can have them."""

import math
from collections.abc import Iterable, Iterator

import torch
from torch import Tensor, nn

from headstart.backbones.backbone import Backbone

IN_PROJECTIONS = ("in_proj_weight", "q_proj_weight", "k_proj_weight", "v_proj_weight")


Weight = tuple[str, nn.Module, str]  # dotted name of the layer, the layer, the name of its weight


class LowRank(nn.Module):
    """A weight of any shape (out, ...) plus ``scale * B A``."""

    def __init__(self, weight: Tensor, rank: int, scale: float) -> None:
        super().__init__()
        self.scale = scale
        self.lora_A = nn.Parameter(torch.empty(rank, weight[0].numel()))
        self.lora_B = nn.Parameter(torch.zeros(len(weight), rank))
        nn.init.kaiming_uniform_(self.lora_A, a=math.sqrt(5))  # as peft and torch do

    def forward(self, weight: Tensor) -> Tensor:
        """Return the updated weight."""
        return weight + (self.scale * self.lora_B @ self.lora_A).view_as(weight)


def adaptable_weights(stages: nn.ModuleDict, chosen: Iterable[str]) -> Iterator[Weight]:
    """Yield the weights of the chosen stages that can be adapted."""
    for stage in chosen:
        for name, layer in stages[stage].named_modules(prefix=stage):
            own = dict(layer.named_parameters(recurse=False))
            if isinstance(layer, nn.MultiheadAttention):
                yield from ((name, layer, key) for key in IN_PROJECTIONS if key in own)
            elif "weight" in own and (
                isinstance(layer, nn.Linear) or (isinstance(layer, nn.Conv2d) and layer.groups == 1)
            ):
                yield name, layer, "weight"


@torch.no_grad()
def layers_for_peft(backbone: Backbone, layers: Iterable[nn.Module]) -> set[int]:
    """Return the ids of the layers that peft can replace: a pass calls them, and peft reproduces them."""
    called: set[int] = set()
    hooks = [layer.register_forward_pre_hook(lambda module, _: called.add(id(module))) for layer in layers]
    backbone.output_shapes()
    for hook in hooks:
        hook.remove()
    return {id(layer) for layer in layers if id(layer) in called and _is_plain(layer)}


def _is_plain(layer: nn.Module) -> bool:
    """Return whether peft reproduces a layer: it knows no subclass, no dilation, and only padding by zeros."""
    if type(layer) is nn.Conv2d:
        return layer.padding_mode == "zeros" and set(layer.dilation) == {1}
    return type(layer) is nn.Linear
