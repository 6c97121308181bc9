"""Coordinate the processes that train together: rank, world size, sums, broadcasts."""

from collections.abc import Iterator, Sequence
from contextlib import contextmanager
from typing import Any, TypeVar

import torch
import torch.distributed as dist
from torch import Tensor, nn

Value = TypeVar("Value")
_ALONE = [False]
_NEIGHBOURS = [1]


def together() -> bool:
    """Return whether several processes share the current work."""
    return not _ALONE[0] and _joined() and dist.get_world_size() > 1


def rank() -> int:
    """Return the number of this process, counted from 0; 0 for a single process."""
    return dist.get_rank() if together() else 0


def world() -> int:
    """Return the number of processes that share the work."""
    return dist.get_world_size() if together() else 1


def neighbours() -> int:
    """Return the number of this run's processes on this machine."""
    return _NEIGHBOURS[0]


def set_neighbours(count: int) -> None:
    """Set the number of this run's processes on this machine."""
    _NEIGHBOURS[0] = count


def leads() -> bool:
    """Return whether this process writes the files and messages."""
    return not _joined() or dist.get_rank() == 0


@contextmanager
def alone() -> Iterator[None]:
    """Ignore the other processes inside this context: its loaders give all images."""
    before, _ALONE[0] = _ALONE[0], True
    try:
        yield
    finally:
        _ALONE[0] = before


@contextmanager
def leader_first() -> Iterator[None]:
    """Run the block in the first process before all others; every process must enter it."""
    if _joined() and not leads():
        dist.barrier()
    yield
    if _joined() and leads():
        dist.barrier()


def key() -> tuple[int, ...]:
    """Return the numbers that make this process's random streams unique; none for the first process."""
    return (rank(),) if rank() else ()


def total(number: float) -> float:
    """Return the sum of a number over all processes."""
    if not together():
        return number
    numbers: list[Any] = [None] * world()
    dist.all_gather_object(numbers, number)
    return sum(numbers)


def gathered(parts: Sequence[Value]) -> list[Value]:
    """Return the lists of all processes, concatenated in the order of their ranks."""
    if not together():
        return list(parts)
    lists: list[Any] = [None] * world()
    dist.all_gather_object(lists, list(parts))
    return [part for own in lists for part in own]


def from_leader(content: Value) -> Value:
    """Return the first process's value on every process."""
    if not _joined():
        return content
    box = [content]
    dist.broadcast_object_list(box, src=0)
    return box[0]


@torch.no_grad()
def copy_from_leader(module: nn.Module) -> None:
    """Copy the first process's tensors of a module to every process."""
    if _joined():
        for tensor in module.state_dict(keep_vars=True).values():
            dist.broadcast(tensor.detach(), src=0)


@torch.no_grad()
def take_from_leader(tensors: Sequence[Tensor]) -> None:
    """Copy the first process's values to tensors of one type and device, in one message."""
    if not together() or not tensors:
        return
    values = torch.cat([tensor.detach().flatten() for tensor in tensors])
    dist.broadcast(values, src=0)
    for tensor, part in zip(tensors, values.split([tensor.numel() for tensor in tensors]), strict=True):
        tensor.copy_(part.view_as(tensor))


def counts(count: int, device: torch.device) -> list[int]:
    """Return ``count`` of each process, in the order of their ranks."""
    if not together():
        return [count]
    everyone = [torch.zeros(1, dtype=torch.int64, device=device) for _ in range(world())]
    dist.all_gather(everyone, torch.tensor([count], device=device))
    return [int(one) for one in everyone]


def all_rows(rows: Tensor) -> tuple[Tensor, int]:
    """Return the rows of all processes in the order of their ranks, and where those of this process start.

    Only its own rows pass gradients on. Rows are (N, ...), with another N on each process.
    """
    if not together():
        return rows, 0
    each = counts(len(rows), rows.device)
    padded = rows.new_zeros(max(each), *rows.shape[1:])
    padded[: len(rows)] = rows.detach()
    everyone = [torch.empty_like(padded) for _ in each]
    dist.all_gather(everyone, padded)
    parts = [part[:count] for part, count in zip(everyone, each, strict=True)]
    parts[rank()] = rows
    return torch.cat(parts), sum(each[: rank()])


def weight(count: int, device: torch.device) -> Tensor | float:
    """Return the factor for the mean loss of this process's ``count`` images.

    With it, the mean over processes equals the mean over all images.
    """
    if not together():
        return 1.0
    everyone = torch.tensor(float(count), dtype=torch.float32, device=device)
    dist.all_reduce(everyone)
    return count * world() / everyone


def _joined() -> bool:
    return dist.is_available() and dist.is_initialized()
