"""Draw the views of each image in list order; apply them in the loader or, from some view on, in batches."""

from collections.abc import Iterator, Sequence
from typing import Any

import numpy as np
import torch
from torch import Tensor

from headstart.augmentations.view import LabelArray, PixelArray, Shape, View
from headstart.errors import ConfigError
from headstart.inputs.label_images import IGNORED

Drawn = list[list[Any]]  # for each output image, the draw of each view


class Pipeline(Sequence[View]):
    """Apply views one after the other; where none of them ``crops``, images must arrive cropped.

    Each image gives ``branches`` images. At most one view makes several images; earlier views are shared by all of
    them. With ``in_batches``, the device applies the views that can run on batches.
    """

    def __init__(self, views: Sequence[View] = (), in_batches: bool = False) -> None:
        self.views = list(views)
        branching = [number for number, view in enumerate(self.views) if view.branches > 1]
        if len(branching) > 1:
            one, other = (type(self.views[number]).__name__ for number in branching[:2])
            raise ConfigError(f"augmentation: {one} and {other} both make several images of one; remove one of them.")
        self.fork = branching[0] if branching else len(self.views)  # the view that makes several images
        self.branches = self.views[self.fork].branches if branching else 1
        crops = [number for number, view in enumerate(self.views) if view.crops]
        self.crops = bool(crops)
        self.last_crop = crops[-1] if crops else 0
        self.packs = in_batches and self.batch_from < len(self.views)

    def __len__(self) -> int:
        return len(self.views)

    def __iter__(self) -> Iterator[View]:
        return iter(self.views)

    def __getitem__(self, index: Any) -> Any:
        return self.views[index]

    def source_side(self, size: int) -> int | None:
        """Return the short side, in pixels, that images should arrive with; None for the side used in evaluation."""
        return next((view.source_side(size) for view in self.views if view.crops), None)

    @property
    def batch_from(self) -> int:
        """Return the first view from which all run on batches; not before the last crop, as shapes differ before."""
        without = [number for number, view in enumerate(self.views) if not view.has_batch_form]
        return max([self.last_crop, *(number + 1 for number in without)])

    def draw(self, rng: np.random.Generator, shape: Shape, size: int) -> Drawn:
        """Draw what to do to an image of this shape."""
        drawn: Drawn = [[]]
        for view in self.views:
            if view.branches > 1:
                drawn = [[*drawn[0], branch] for branch in view.draw_branches(rng, shape, size)]
            else:
                drawn = [[*branch, view.draw(rng, shape, size)] for branch in drawn]
            if view.crops:
                shape = (size, size)
        return drawn

    def apply(self, image: PixelArray, drawn: Drawn, size: int, stop: int | None = None) -> list[PixelArray]:
        """Apply the views before ``stop``; return one image (H, W, 3), or one per branch after the fork."""
        stop = len(self.views) if stop is None else stop
        image = self._apply_range(image, drawn[0], range(min(self.fork, stop)), size)
        if stop <= self.fork:
            return [image]
        return [self._apply_range(image, branch, range(self.fork, stop), size) for branch in drawn]

    def _apply_range(self, image: PixelArray, drawn: Sequence[Any], numbers: Sequence[int], size: int) -> PixelArray:
        for number in numbers:
            if drawn[number] is not None:
                image = self.views[number].apply(image, drawn[number], size)
        return image

    def apply_batch(self, images: Tensor, drawn: Sequence[Drawn], size: int, start: int = 0) -> Tensor:
        """Apply the views from ``start`` on to images (N, 3, H, W), or to (branches * N, ...) after the fork.

        Return (branches * N, 3, size, size): the first output of every image, then the second of every image, and so
        on.
        """
        for number in range(start, len(self.views)):
            if number == self.fork and len(images) == len(drawn):
                images = images.repeat(self.branches, 1, 1, 1)
            forked = range(self.branches if number >= self.fork else 1)
            steps = [own[branch][number] for branch in forked for own in drawn]
            images = _where_drawn(self.views[number], images, steps, size)
        return images

    def pack(
        self, images: Sequence[PixelArray], targets: Any, drawn: Sequence[Drawn], size: int
    ) -> tuple["PendingBatch", Any]:
        """Apply the loader's views, cut off what later views do not read, and return a batch that applies them.

        Targets are returned as ``stack`` does, with all views.
        """
        targets = self.moved(targets, drawn, size)
        start = self.batch_from
        partial = [self.apply(image, own, size, start) for image, own in zip(images, drawn, strict=True)]
        if self.views[start].crops:
            partial, drawn = self._cut(partial, drawn, start)
        in_order = [own[branch] for branch in range(len(partial[0])) for own in partial]
        height, width = (max(image.shape[axis] for image in in_order) for axis in (0, 1))
        padded = np.zeros((len(in_order), height, width, 3), np.uint8)
        for place, image in zip(padded, in_order, strict=True):
            place[: image.shape[0], : image.shape[1]] = image
        return PendingBatch(torch.from_numpy(padded).permute(0, 3, 1, 2), drawn, self, size), targets

    def _cut(
        self, images: Sequence[list[PixelArray]], drawn: Sequence[Drawn], number: int
    ) -> tuple[list[list[PixelArray]], list[Drawn]]:
        """Return the parts that a crop reads, and draws adapted to them; one part per branch where branches differ."""
        parts, adapted = [], [[list(branch) for branch in branches] for branches in drawn]
        for made, branches in zip(images, adapted, strict=True):
            made = made * len(branches) if number >= self.fork and len(made) == 1 else made
            cut = [self.views[number].cut(part, branch[number]) for part, branch in zip(made, branches, strict=False)]
            parts.append([part for part, _ in cut])
            for place, branch in enumerate(branches):
                branch[number] = cut[min(place, len(cut) - 1)][1]
        return parts, adapted

    def stack(
        self, images: Sequence[PixelArray], targets: Any, drawn: Sequence[Drawn], size: int
    ) -> tuple[Tensor, Any]:
        """Apply all views; return uint8 (branches * N, 3, size, size), ordered as in ``apply_batch``, and targets.

        A list of label images becomes (branches * N, size, size) in the same order; other targets stay as they are.
        """
        done = [self.apply(image, own, size) for image, own in zip(images, drawn, strict=True)]
        rows = [own[branch] for branch in range(self.branches) for own in done]
        return torch.from_numpy(np.stack(rows)).permute(0, 3, 1, 2), self.moved(targets, drawn, size)

    def moved(self, targets: Any, drawn: Sequence[Drawn], size: int) -> Any:
        """Return a list of label images as the views move them, (branches * N, size, size); other targets unchanged."""
        if not isinstance(targets, list):
            return targets
        rows = []
        for branch in range(self.branches):
            for labels, own in zip(targets, drawn, strict=True):
                for view, step in zip(self.views, own[branch], strict=True):
                    labels = labels if step is None else view.move(labels, step, size, outside_of(labels))
                rows.append(labels)
        moved = torch.from_numpy(np.stack(rows))
        return moved if moved.is_floating_point() else moved.long()


def outside_of(labels: LabelArray) -> Any:
    """Return the value of pixels outside a label image: -1 for classes, NaN for numbers."""
    return np.nan if labels.dtype.kind == "f" else IGNORED


class PendingBatch:
    """A batch whose last views are applied later, on the device that uses it.

    ``images`` are uint8 (N, 3, H, W), padded with black on the right and below. This is not a dataclass, because
    Lightning would convert floating-point numbers in ``drawn``.
    """

    def __init__(self, images: Tensor, drawn: Sequence[Drawn], pipeline: Pipeline, size: int) -> None:
        self.images, self.drawn, self.pipeline, self.size = images, drawn, pipeline, size

    def __len__(self) -> int:
        return len(self.drawn)

    def to(self, *args: Any, **kwargs: Any) -> "PendingBatch":
        """Return the batch on another device."""
        return PendingBatch(self.images.to(*args, **kwargs), self.drawn, self.pipeline, self.size)

    def pin_memory(self) -> "PendingBatch":
        """Return the batch in pinned memory, which a GPU copies faster."""
        return PendingBatch(self.images.pin_memory(), self.drawn, self.pipeline, self.size)

    @torch.no_grad()
    def done(self) -> Tensor:
        """Return uint8 (branches * N, 3, size, size), computed in single precision even under autocast."""
        with torch.autocast(self.images.device.type, enabled=False):
            return self.pipeline.apply_batch(self.images, self.drawn, self.size, self.pipeline.batch_from)


def _where_drawn(view: View, images: Tensor, drawn: Sequence[Any], size: int) -> Tensor:
    rows = [row for row, own in enumerate(drawn) if own is not None]
    if not rows:
        return images
    if len(rows) == len(drawn):
        return view.apply_batch(images, drawn, size)
    index = torch.tensor(rows, device=images.device)
    changed = view.apply_batch(images[index], [drawn[row] for row in rows], size)
    return images.clone().index_copy_(0, index, changed)
