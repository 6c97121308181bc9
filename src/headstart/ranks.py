"""What a process knows of the others that train with it: its number, and how they come to agree."""

from collections.abc import Iterator, Sequence
from contextlib import contextmanager
from typing import Any, TypeVar

import torch
import torch.distributed as dist
from torch import Tensor, nn

Told = TypeVar("Told")
_ALONE = [False]
_NEIGHBOURS = [1]


def together() -> bool:
    """Whether several processes share the work here and now."""
    return not _ALONE[0] and _joined() and dist.get_world_size() > 1


def rank() -> int:
    """The number of this process, from 0; 0 where there is no other."""
    return dist.get_rank() if together() else 0


def world() -> int:
    """How many processes share the work."""
    return dist.get_world_size() if together() else 1


def neighbours() -> int:
    """How many of these processes share this machine's cores."""
    return _NEIGHBOURS[0]


def set_neighbours(count: int) -> None:
    """Say how many there are."""
    _NEIGHBOURS[0] = count


def leads() -> bool:
    """Whether this process is the one that writes and speaks, alone or not."""
    return not _joined() or dist.get_rank() == 0


@contextmanager
def alone() -> Iterator[None]:
    """Work on everything meanwhile, as if there were no other process: loaders made here give all images."""
    before, _ALONE[0] = _ALONE[0], True
    try:
        yield
    finally:
        _ALONE[0] = before


@contextmanager
def leader_first() -> Iterator[None]:
    """The first process does what is inside before all others do; every process has to come here."""
    if _joined() and not leads():
        dist.barrier()
    yield
    if _joined() and leads():
        dist.barrier()


def key() -> tuple[int, ...]:
    """What to add to the numbers of a random stream so that no two processes draw the same; nothing for the first."""
    return (rank(),) if rank() else ()


def total(number: float) -> float:
    """The sum over all processes."""
    if not together():
        return number
    numbers: list[Any] = [None] * world()
    dist.all_gather_object(numbers, number)
    return sum(numbers)


def gathered(parts: Sequence[Told]) -> list[Told]:
    """What all processes have, one process after the other."""
    if not together():
        return list(parts)
    lists: list[Any] = [None] * world()
    dist.all_gather_object(lists, list(parts))
    return [part for some in lists for part in some]


def from_leader(content: Told) -> Told:
    """What the first process has, whatever the others bring."""
    if not _joined():
        return content
    told = [content]
    dist.broadcast_object_list(told, src=0)
    return told[0]


@torch.no_grad()
def copy_from_leader(module: nn.Module) -> None:
    """Give the tensors of a module on every process the first one's values."""
    if _joined():
        for tensor in module.state_dict(keep_vars=True).values():
            dist.broadcast(tensor.detach(), src=0)


@torch.no_grad()
def take_from_leader(tensors: Sequence[Tensor]) -> None:
    """Give tensors of one type and device the first process's values, all in one message."""
    if not together() or not tensors:
        return
    values = torch.cat([tensor.detach().flatten() for tensor in tensors])
    dist.broadcast(values, src=0)
    for tensor, part in zip(tensors, values.split([tensor.numel() for tensor in tensors]), strict=True):
        tensor.copy_(part.view_as(tensor))


def weight(count: int, device: torch.device) -> Tensor | float:
    """What the mean loss of ``count`` images counts by, so that the mean over processes is that over all images."""
    if not together():
        return 1.0
    everyone = torch.tensor(float(count), dtype=torch.float32, device=device)
    dist.all_reduce(everyone)
    return count * world() / everyone


def _joined() -> bool:
    return dist.is_available() and dist.is_initialized()
