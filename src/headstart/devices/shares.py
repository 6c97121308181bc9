"""Shard weights over processes, and read the full tensor or the local shard again."""

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
    """Return copies of backbone and head, sharded over the mesh; ``frozen`` stages are neither copied nor sharded.

    A stage is gathered for its pass and freed afterwards (FSDP2, arXiv:2304.11277). Call ``forward`` of the backbone:
    as the root module it prefetches the next stage while one runs.
    """
    unsharded = {id(backbone.stages[name]): backbone.stages[name] for name in frozen}
    backbone, head = copy.deepcopy(backbone, {**unsharded}), copy.deepcopy(head)
    for stage in backbone.stages.values():
        if id(stage) not in unsharded:
            fully_shard(_prepared(stage), mesh=mesh, reshard_after_forward=True)
    backbone.register_forward_hook(_own_memory)
    fully_shard(
        backbone,
        mesh=mesh,
        reshard_after_forward=True,
        ignored_params={parameter for stage in unsharded.values() for parameter in stage.parameters()},
    )
    fully_shard(_prepared(head), mesh=mesh, reshard_after_forward=True)
    return backbone, head


def local(tensor: Tensor) -> Tensor:
    """Return this process's shard of a tensor, sharing its memory, without a graph."""
    return tensor.to_local().detach() if isinstance(tensor, DTensor) else tensor.detach()


def whole(tensor: Tensor) -> Tensor:
    """Return the full tensor. Every process must call this, in the same order."""
    return tensor.full_tensor().detach() if isinstance(tensor, DTensor) else tensor.detach()


def like(tensor: Tensor, other: Tensor) -> Tensor:
    """Shard a full tensor, which every process has, as ``other`` is sharded."""
    if not isinstance(other, DTensor) or isinstance(tensor, DTensor):
        return tensor
    return distribute_tensor(tensor.to(other.device), other.device_mesh, other.placements, src_data_rank=None)


def _prepared(module: Part) -> Part:
    """Make parameters contiguous, as FSDP requires (images may stay channels-last), and protect outputs."""
    for parameter in module.parameters():
        parameter.data = parameter.data.contiguous()
    module.register_forward_hook(_own_memory)
    return module


def _own_memory(module: nn.Module, inputs: object, output: object) -> object:
    """Copy an output that is a view: an in-place change by the next module would drop FSDP's hooks silently."""
    if isinstance(output, Tensor) and output._is_view() and output.requires_grad:
        return output.clone()
    return output
