"""Weights of which each process holds a share: to take them apart, and to see the whole or the own part again."""

import copy
from collections.abc import Iterable
from typing import TypeVar

from torch import Tensor, nn
from torch.distributed.device_mesh import DeviceMesh
from torch.distributed.fsdp import fully_shard
from torch.distributed.tensor import DTensor, distribute_tensor

from headstart.backbones import Backbone

Part = TypeVar("Part", bound=nn.Module)


def sharded(backbone: Backbone, head: nn.Module, frozen: Iterable[str], mesh: DeviceMesh) -> tuple[Backbone, nn.Module]:
    """Copies of which each process of the mesh holds its share, and all of the ``frozen`` stages, which are not copied.

    A stage is put together for its pass and taken apart again (FSDP2, arXiv:2304.11277). The pass has to go through
    ``forward`` of the backbone: as its root it fetches a stage while another is at work.
    """
    resting = {id(backbone.stages[name]): backbone.stages[name] for name in frozen}
    backbone, head = copy.deepcopy(backbone, {**resting}), copy.deepcopy(head)
    for stage in backbone.stages.values():
        if id(stage) not in resting:
            fully_shard(_prepared(stage), mesh=mesh, reshard_after_forward=True)
    backbone.register_forward_hook(_own_memory)
    fully_shard(
        backbone,
        mesh=mesh,
        reshard_after_forward=True,
        ignored_params={parameter for stage in resting.values() for parameter in stage.parameters()},
    )
    fully_shard(_prepared(head), mesh=mesh, reshard_after_forward=True)
    return backbone, head


def local(tensor: Tensor) -> Tensor:
    """What this process holds of a tensor: the very memory, without a graph."""
    return tensor.to_local().detach() if isinstance(tensor, DTensor) else tensor.detach()


def whole(tensor: Tensor) -> Tensor:
    """All of a tensor. Every process has to ask, and in the same order."""
    return tensor.full_tensor().detach() if isinstance(tensor, DTensor) else tensor.detach()


def like(tensor: Tensor, other: Tensor) -> Tensor:
    """A whole tensor, which every process has, shared out as the other is."""
    if not isinstance(other, DTensor) or isinstance(tensor, DTensor):
        return tensor
    return distribute_tensor(tensor.to(other.device), other.device_mesh, other.placements, src_data_rank=None)


def _prepared(module: Part) -> Part:
    """With contiguous parameters, as FSDP takes no others (images may stay channels-last), and safe outputs."""
    for parameter in module.parameters():
        parameter.data = parameter.data.contiguous()
    module.register_forward_hook(_own_memory)
    return module


def _own_memory(module: nn.Module, inputs: object, output: object) -> object:
    """An output that is a view is copied: changed in place by the next module, it would lose FSDP's hooks unseen."""
    if isinstance(output, Tensor) and output._is_view() and output.requires_grad:
        return output.clone()
    return output
