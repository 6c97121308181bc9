"""Classify images by spatial pyramids of SIFT words, a strong method before networks.

Idea: a histogram says which of 400 typical patches an image shows. Histograms of its quarters and sixteenths also say
where.
Source: Lazebnik, Schmid and Ponce 2006, "Beyond bags of features"; it differs in what ``docs/experiments.md`` lists.
Command: headstart train dataset=image_folder dataset.root=data/scene15 dataset.image_size=200 dataset.crop_fraction=1
strategy=linear_probe 'references=[sift_pyramid]'. Result on 15-Scene: docs/experiments.md.
Fails: with few labels, and where colour decides, because it reads grey images.
"""

from collections.abc import Iterator, Mapping, Sequence
from typing import TYPE_CHECKING

import cv2
import numpy as np
import torch
from numpy.typing import NDArray
from threadpoolctl import threadpool_limits

from headstart.data import ImageData, ImageSplit
from headstart.errors import ConfigError
from headstart.inputs.decoding import PixelArray
from headstart.inputs.signature import RGB, Signature
from headstart.seeds import generator
from headstart.solvers.probe import rank, scored
from headstart.tasks import Task

if TYPE_CHECKING:  # scikit-learn is loaded only by this reference
    from sklearn.svm import SVC

Floats = NDArray[np.float32]
Words = NDArray[np.uint16]
PATCH = 16  # pixels a side
REDUCED = (1, 2)  # times: in the image and in its half, where a patch covers 32 pixels of the image
STEP = 8  # pixels of the image between two patches
SMALLEST = 128  # smaller images are enlarged to this many pixels a side
SMOOTHING = 0.8  # pixels; SIFT's usual 1.6 blurs the cells of 4 pixels
WORDS = 400  # size of the vocabulary
SAMPLED = (300, 60_000)  # images and descriptors that the vocabulary is made from, at most
LEVELS = 3  # 1, 4 and 16 parts of the image
STRENGTHS = (0.3, 1.0, 3.0, 10.0)  # C of the SVM, tried on validation
MOST = 10_000  # training images: their kernel takes 0.8 GB
BLOCK = 1000  # images that are compared with the training images at once


def sift_pyramid(data: ImageData, task: Task, seed: int) -> Mapping[str, float]:
    """Return the scores of a one-against-rest SVM with the intersection kernel, its C chosen on validation.

    ``seed`` determines the vocabulary. Raises ConfigError for more training images than the kernel has room for.
    """
    train = data.train.without_views()
    if len(train) > MOST:
        raise ConfigError(
            f"references=[sift_pyramid] compares each pair of training images, and {data.name} has {len(train)};"
            f" expected at most {MOST}: use dataset.labels_per_class."
        )
    sift = DenseSift(train.image(0).shape[0], data.signature)
    with threadpool_limits(1):  # the sums of several threads differ in their last digits from call to call
        vocabulary = find_vocabulary(sift, train, seed)
        words = [sift.words(split, vocabulary) for split in (train, data.validation, data.test)]
        known = pyramids(words[0], sift.places, WORDS).T.copy()  # (D, N): the values of a word lie side by side
        targets = [torch.from_numpy(np.asarray(split.targets)) for split in (train, data.validation, data.test)]
        kernel = np.concatenate(list(_kernels(words[0], sift.places, known)))
        fits = [_fit_svm(kernel, targets[0], task, strength) for strength in STRENGTHS]
        rows = []
        outputs = _decide(fits, _kernels(words[1], sift.places, known))
        for strength, margins in zip(STRENGTHS, outputs, strict=True):
            scale = task.best_scale(margins, targets[1])  # margins are not logits
            scores = scored(task, validation=(margins * scale, targets[1]))
            rows.append({"svm_c": strength, "scale": scale, **scores})
        best = max(range(len(rows)), key=lambda number: rank(rows[number], task))
        scale = rows[best].pop("scale")
        (margins,) = _decide([fits[best]], _kernels(words[2], sift.places, known))
    return rows[best] | scored(task, test=(margins * scale, targets[2]))


class DenseSift:
    """Describe the patches of square images on two fixed grids, in the image and in its half.

    ``places`` are the centres of the P patches as fractions of the side, (P, 2): down, then right.
    """

    def __init__(self, side: int, signature: Signature = RGB) -> None:
        self.side, self.signature = max(side, SMALLEST), signature
        self.sift = cv2.SIFT_create(sigma=SMOOTHING)  # type: ignore[attr-defined]
        self.sizes = [self.side // times for times in REDUCED]
        grids = [_grid(size, STEP // times) for size, times in zip(self.sizes, REDUCED, strict=True)]
        self.places = np.concatenate([grid / size for grid, size in zip(grids, self.sizes, strict=True)])
        self.points = [[cv2.KeyPoint(x, y, PATCH / 6, 0) for y, x in grid.tolist()] for grid in grids]

    def describe(self, grey: PixelArray) -> Floats:
        """Return the descriptors (P, 128) of a grey image (S, S) of 8 bits.

        They are square roots of L1-normalised ones, which compares histograms of gradients by Hellinger's distance
        (Arandjelovic and Zisserman 2012, "Three things everyone should know to improve object retrieval").
        """
        found = []
        for size, points in zip(self.sizes, self.points, strict=True):
            way = cv2.INTER_AREA if size < len(grey) else cv2.INTER_LINEAR
            found.append(self.sift.compute(cv2.resize(grey, (size, size), interpolation=way), points)[1])
        values = np.concatenate(found)
        return np.asarray(np.sqrt(values / np.maximum(values.sum(axis=1, keepdims=True), 1e-9)), dtype=np.float32)

    def describe_item(self, split: ImageSplit, index: int) -> Floats:
        """Return the descriptors (P, 128) of an image of a split."""
        shown = self.signature.for_display(split.image(index))
        return self.describe(np.asarray(cv2.cvtColor(shown, cv2.COLOR_RGB2GRAY)))

    def words(self, split: ImageSplit, vocabulary: Floats) -> Words:
        """Return the word nearest to each patch of each image, (N, P)."""
        split.images.load("images")
        lengths = (vocabulary**2).sum(axis=1)
        found = np.empty((len(split), len(self.places)), np.uint16)
        for index in range(len(split)):
            found[index] = (lengths - 2 * self.describe_item(split, index) @ vocabulary.T).argmin(axis=1)
        return found


def find_vocabulary(sift: DenseSift, train: ImageSplit, seed: int) -> Floats:
    """Return the centres (WORDS, 128) of clusters of the training images' descriptors."""
    train.images.load("images")
    rng = generator("sift_pyramid", seed)
    chosen = rng.choice(len(train), min(SAMPLED[0], len(train)), replace=False)
    each = min(SAMPLED[1] // len(chosen), len(sift.places))
    sample = [
        sift.describe_item(train, int(index))[rng.choice(len(sift.places), each, replace=False)] for index in chosen
    ]
    from sklearn.cluster import KMeans

    means = KMeans(WORDS, init="random", n_init=1, max_iter=25, random_state=int(rng.integers(2**32)))
    return np.asarray(means.fit(np.concatenate(sample)).cluster_centers_, dtype=np.float32)


def level_weights(levels: int) -> list[float]:
    """Return the weight of each level, coarsest first, as the paper has them: 1/4, 1/4, 1/2 for three levels."""
    return [2.0 ** -(levels - max(level, 1)) for level in range(levels)]


def pyramids(words: Words, places: NDArray[np.float64], count: int) -> Floats:
    """Return the weighted histograms of all parts of all levels, (N, D), from words (N, P) below ``count``.

    The sum of an image's values is 1, and so is its intersection with itself.
    """
    joined = []
    for level, weight in enumerate(level_weights(LEVELS)):
        parts = 2**level
        down, right = (places * parts).astype(int).T
        bins = (down * parts + right) * count + words  # words differ in type, and the sum has room
        counts = np.stack([np.bincount(row, minlength=parts**2 * count) for row in bins])
        joined.append((counts * (weight / words.shape[1])).astype(np.float32))
    return np.concatenate(joined, axis=1)


def intersections(of: Floats, known: Floats) -> NDArray[np.float64]:
    """Return the sum of minima of each pair of histograms, (M, N), from (M, D) and, transposed, (D, N)."""
    found = np.empty((len(of), known.shape[1]))
    for number, row in enumerate(of):
        filled = np.flatnonzero(row)  # most are 0
        found[number] = np.minimum(known[filled], row[filled, None]).sum(axis=0)
    return found


def _grid(side: int, step: int) -> NDArray[np.float64]:
    """Return the centres (P, 2) of patches that lie within the image, evenly far from its edges."""
    first = PATCH / 2 + (side - PATCH) % step / 2
    along = np.arange(first, side - PATCH / 2 + 1e-6, step)
    return np.stack(np.meshgrid(along, along, indexing="ij"), axis=-1).reshape(-1, 2)


def _kernels(words: Words, places: NDArray[np.float64], known: Floats) -> Iterator[NDArray[np.float64]]:
    """Yield the kernel between the images, block by block, and the training images: (M, N)."""
    for start in range(0, len(words), BLOCK):
        yield intersections(pyramids(words[start : start + BLOCK], places, WORDS), known)


def _fit_svm(kernel: NDArray[np.float64], targets: torch.Tensor, task: Task, strength: float) -> list["SVC"]:
    """Return one SVM for each class."""
    from sklearn.svm import SVC

    weights = task.weights_of(targets)
    weighed = None if weights is None else weights.numpy()
    labels = targets.numpy()
    return [
        SVC(C=strength, kernel="precomputed").fit(kernel, labels == number, sample_weight=weighed)
        for number in range(task.width)
    ]


def _decide(fits: Sequence[Sequence["SVC"]], kernels: Iterator[NDArray[np.float64]]) -> list[torch.Tensor]:
    """Return the margins (M, classes) of each fit."""
    found = [[np.stack([one.decision_function(rows) for one in fit], axis=1) for fit in fits] for rows in kernels]
    return [torch.from_numpy(np.concatenate(blocks)) for blocks in zip(*found, strict=True)]
