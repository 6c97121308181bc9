"""Find images that are the same, or nearly the same."""

from collections.abc import Hashable, Sequence
from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray
from scipy.sparse import coo_array
from scipy.sparse.csgraph import connected_components

from headstart.analysis.audit.pooled import PooledImages
from headstart.inputs.leakage import BITS, ROWS, THRESHOLD, Bits, perceptual_hashes
from headstart.solvers.label_quality import Shares

COSINE = 0.9  # on 15-Scene all 18 pairs above it with near hashes show one photograph or one place
Pairs = NDArray[np.int64]  # (pairs, 2), positions of images


@dataclass(frozen=True)
class DuplicateCluster:
    """Two or more images that are connected by pairs of duplicates."""

    members: list[int]  # positions, in order
    exact: bool  # all files have the same content
    labels: int  # different labels
    splits: int  # different splits

    @property
    def rank(self) -> tuple[int, int, int]:
        """Return a sort key: different labels first, then several splits, then size."""
        return -self.labels, -self.splits, -len(self.members)


def near_duplicates(hashes: Bits, values: Shares, cosine: float = COSINE) -> Pairs:
    """Return pairs of images with perceptual hashes (N, 64) that differ in few bits, and features (N, D) that agree.

    Features alone join images of one kind; hashes alone join images of one layout.
    """
    unit = values / np.maximum(np.linalg.norm(values, axis=1, keepdims=True), 1e-12)
    found = [np.empty((0, 2), dtype=np.int64)]
    for start in range(0, len(hashes), ROWS):
        first, second = np.nonzero(hashes[start : start + ROWS] @ hashes.T >= BITS - 2 * THRESHOLD)
        first += start
        later = first < second
        first, second = first[later], second[later]
        for part in range(0, len(first), ROWS):
            some, others = first[part : part + ROWS], second[part : part + ROWS]
            alike = (unit[some] * unit[others]).sum(axis=1) >= cosine
            found.append(np.stack([some[alike], others[alike]], axis=1))
    return np.concatenate(found)


def same_pairs(keys: Sequence[Hashable]) -> Pairs:
    """Return pairs of positions with equal keys: each position with the first one that has its key. None is no key."""
    first: dict[Hashable, int] = {}
    pairs = [(first.setdefault(key, place), place) for place, key in enumerate(keys) if key is not None]
    return np.array([pair for pair in pairs if pair[0] != pair[1]], dtype=np.int64).reshape(-1, 2)


def components(count: int, pairs: Pairs) -> NDArray[np.int64]:
    """Return the number of the component of each of ``count`` images, when pairs are connected."""
    graph = coo_array((np.ones(len(pairs)), (pairs[:, 0], pairs[:, 1])), shape=(count, count))
    return connected_components(graph, directed=False)[1].astype(np.int64)


def duplicate_pairs(images: PooledImages) -> Pairs:
    """Return all pairs of exact and near duplicates that are needed to connect them."""
    hashes = np.concatenate([perceptual_hashes(part, "all") for part in images.sets])
    return np.concatenate([same_pairs(images.contents), near_duplicates(hashes, images.values.numpy())])


def duplicate_clusters(images: PooledImages, pairs: Pairs) -> list[DuplicateCluster]:
    """Return the clusters of duplicates, those with different labels first."""
    number = components(len(images), pairs)
    members: dict[int, list[int]] = {}
    for place in np.flatnonzero(np.bincount(number)[number] > 1).tolist():
        members.setdefault(int(number[place]), []).append(place)
    clusters = [
        DuplicateCluster(
            of,
            len({images.contents[place] for place in of}) == 1,
            len({int(images.targets[place]) for place in of}),
            len({images.splits[place] for place in of}),
        )
        for of in members.values()
    ]
    return sorted(clusters, key=lambda cluster: cluster.rank)
