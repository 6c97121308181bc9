"""Views in the order of the list: drawn for each image, carried out by the loader or, from some on, in batches."""

from collections.abc import Iterator, Sequence
from typing import Any

import numpy as np
import torch
from torch import Tensor

from headstart.augmentations.view import PixelArray, Shape, View
from headstart.errors import ConfigError

Drawn = list[list[Any]]  # for each image that comes out, what each view does to it


class Pipeline(Sequence[View]):
    """Views one after the other. Where none of them ``crops``, images come in cropped.

    Of an image come ``branches`` images: a view that makes several of one does so where it stands in the list.
    """

    def __init__(self, views: Sequence[View] = ()) -> None:
        self.views = list(views)
        branching = [number for number, view in enumerate(self.views) if view.branches > 1]
        if len(branching) > 1:
            one, other = (type(self.views[number]).__name__ for number in branching[:2])
            raise ConfigError(
                f"augmentation: {one} and {other} both make several images of one; leave one of them out."
            )
        self.fork = branching[0] if branching else len(self.views)  # the view from which on images differ
        self.branches = self.views[self.fork].branches if branching else 1
        crops = [number for number, view in enumerate(self.views) if view.crops]
        self.crops = bool(crops)
        self.last_crop = crops[-1] if crops else 0

    def __len__(self) -> int:
        return len(self.views)

    def __iter__(self) -> Iterator[View]:
        return iter(self.views)

    def __getitem__(self, index: Any) -> Any:
        return self.views[index]

    def source_side(self, size: int) -> int | None:
        """Pixels of the short side that images should have when they come in; None where it is as in evaluation."""
        return next((view.source_side(size) for view in self.views if view.crops), None)

    @property
    def batch_from(self) -> int:
        """The view from which on all can work on batches: none before the last crop, as shapes differ until then."""
        without = [number for number, view in enumerate(self.views) if not view.has_batch_form]
        return max([self.last_crop, *(number + 1 for number in without)])

    def draw(self, rng: np.random.Generator, shape: Shape, size: int) -> Drawn:
        """What to do to an image of this shape."""
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
        """The images (H, W, 3) that become of one, after the views before ``stop``; one, as long as none forks."""
        stop = len(self.views) if stop is None else stop
        image = self._carried_out(image, drawn[0], range(min(self.fork, stop)), size)
        if stop <= self.fork:
            return [image]
        return [self._carried_out(image, branch, range(self.fork, stop), size) for branch in drawn]

    def _carried_out(self, image: PixelArray, drawn: Sequence[Any], numbers: Sequence[int], size: int) -> PixelArray:
        for number in numbers:
            if drawn[number] is not None:
                image = self.views[number].apply(image, drawn[number], size)
        return image

    def apply_batch(self, images: Tensor, drawn: Sequence[Drawn], size: int, start: int = 0) -> Tensor:
        """Images (N, 3, H, W), or (branches * N, ...) after the fork, through the views from ``start`` on.

        What comes out has the first image of each, then the second of each, and so on: (branches * N, 3, size, size).
        """
        for number in range(start, len(self.views)):
            if number == self.fork and len(images) == len(drawn):
                images = images.repeat(self.branches, 1, 1, 1)
            forked = range(self.branches if number >= self.fork else 1)
            steps = [of[branch][number] for branch in forked for of in drawn]
            images = _where_drawn(self.views[number], images, steps, size)
        return images

    def pack(self, images: Sequence[PixelArray], drawn: Sequence[Drawn], size: int) -> "Undone":
        """Images that the loader leaves where the batch form takes over; of a crop there, only what it will read."""
        start = self.batch_from
        half_done = [self.apply(image, of, size, start) for image, of in zip(images, drawn, strict=True)]
        if self.views[start].crops:
            half_done, drawn = self._cut(half_done, drawn, start)
        in_order = [of[branch] for branch in range(len(half_done[0])) for of in half_done]
        height, width = (max(image.shape[axis] for image in in_order) for axis in (0, 1))
        padded = np.zeros((len(in_order), height, width, 3), np.uint8)
        for place, image in zip(padded, in_order, strict=True):
            place[: image.shape[0], : image.shape[1]] = image
        return Undone(torch.from_numpy(padded).permute(0, 3, 1, 2), drawn, self, size)

    def _cut(
        self, images: Sequence[list[PixelArray]], drawn: Sequence[Drawn], number: int
    ) -> tuple[list[list[PixelArray]], list[Drawn]]:
        """The parts that a crop reads, and what is drawn, told of them; one a branch where branches differ."""
        parts, told = [], [[list(branch) for branch in of] for of in drawn]
        for of_one, of in zip(images, told, strict=True):
            of_one = of_one * len(of) if number >= self.fork and len(of_one) == 1 else of_one
            cut = [self.views[number].cut(part, branch[number]) for part, branch in zip(of_one, of, strict=False)]
            parts.append([part for part, _ in cut])
            for place, branch in enumerate(of):
                branch[number] = cut[min(place, len(cut) - 1)][1]
        return parts, told

    def stack(self, images: Sequence[PixelArray], drawn: Sequence[Drawn], size: int) -> Tensor:
        """(branches * N, 3, size, size) uint8: the first image of each, then the second of each, and so on."""
        done = [self.apply(image, of, size) for image, of in zip(images, drawn, strict=True)]
        rows = [of[branch] for branch in range(self.branches) for of in done]
        return torch.from_numpy(np.stack(rows)).permute(0, 3, 1, 2)


class Undone:
    """A batch whose last views are still to be carried out, where it will be used.

    ``images`` are uint8 (N, 3, H, W), filled up with black to the right and below. It is no dataclass: Lightning
    would look for floating-point numbers in what was drawn.
    """

    def __init__(self, images: Tensor, drawn: Sequence[Drawn], pipeline: Pipeline, size: int) -> None:
        self.images, self.drawn, self.pipeline, self.size = images, drawn, pipeline, size

    def __len__(self) -> int:
        return len(self.drawn)

    def to(self, *args: Any, **kwargs: Any) -> "Undone":
        """The same on another device."""
        return Undone(self.images.to(*args, **kwargs), self.drawn, self.pipeline, self.size)

    def pin_memory(self) -> "Undone":
        """The same in memory that a GPU copies faster."""
        return Undone(self.images.pin_memory(), self.drawn, self.pipeline, self.size)

    @torch.no_grad()
    def done(self) -> Tensor:
        """(branches * N, 3, size, size) uint8; in single precision, whatever the network's is."""
        with torch.autocast(self.images.device.type, enabled=False):
            return self.pipeline.apply_batch(self.images, self.drawn, self.size, self.pipeline.batch_from)


def _where_drawn(view: View, images: Tensor, drawn: Sequence[Any], size: int) -> Tensor:
    rows = [row for row, of in enumerate(drawn) if of is not None]
    if not rows:
        return images
    if len(rows) == len(drawn):
        return view.apply_batch(images, drawn, size)
    index = torch.tensor(rows, device=images.device)
    changed = view.apply_batch(images[index], [drawn[row] for row in rows], size)
    return images.clone().index_copy_(0, index, changed)
