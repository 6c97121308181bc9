"""Read matrices in blocks of rows, so that memory does not grow with images x classes."""

from collections.abc import Callable, Iterator
from dataclasses import dataclass

from torch import Tensor

BLOCK = 2**22  # numbers in a block; smaller problems have one block, so their sums keep their order
LEAST_ROWS = 64  # of a block, so that matrix products stay fast


@dataclass(frozen=True)
class LazyRows:
    """A matrix whose rows are computed when a slice reads them."""

    read: Callable[[slice], Tensor]

    def __getitem__(self, rows: slice) -> Tensor:
        """Return these rows."""
        return self.read(rows)

    def __rmul__(self, factor: float) -> "LazyRows":
        """Return the matrix times a number."""
        return LazyRows(lambda rows: factor * self.read(rows))


Matrix = Tensor | LazyRows


def blocks_of(count: int, width: int, most: int | None = None) -> Iterator[slice]:
    """Yield the places of blocks of ``count`` rows of ``width`` numbers, at most ``most`` (``BLOCK``) numbers each."""
    rows = max(LEAST_ROWS, (most or BLOCK) // max(1, width))
    for start in range(0, count, rows):
        yield slice(start, min(start + rows, count))


def share_of(rows: slice, count: int) -> float:
    """Return the fraction of ``count`` rows that a block has."""
    return (rows.stop - rows.start) / count


def linear_rows(values: Tensor, weight: Tensor, bias: Tensor) -> LazyRows:
    """Return the outputs (N, K) of a linear map, in the precision of ``weight`` (K, D), from features (N, D)."""
    return LazyRows(lambda rows: values[rows].to(weight) @ weight.T + bias)
